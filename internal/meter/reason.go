package meter

// A Reason is why the server refuses something to a client. Metrics and the log show
// its name.
//
// To add a reason, add a constant here and its line in reasons.
type Reason uint8

const (
	// What one address, or its network, may do.
	AddressRequests    Reason = iota // requests per second
	AddressInboxes                   // new inboxes per second
	AddressPasswords                 // wrong passwords
	AddressRecipients                // recipients without an inbox
	AddressConnections               // open connections
	AddressBytes                     // bytes in flight

	// What everybody shares.
	IDPasswords       // wrong passwords for one id
	SenderShare       // one sender's part of an inbox
	ServerConnections // a second in which new connections waited

	// What proxies, or clients in their place, tell of an address.
	UntrustedHeader   // ignored: the peer is no trusted proxy
	InvalidHeader     // the last proxy that is known counts as the client
	UntrustedProtocol // PROXY protocol from a peer that is no trusted proxy
	InvalidProtocol   // from a trusted proxy, or none from it
	InvalidSource     // PROXY protocol with an address that no client has: the proxy counts as the client

	// What the protocol refuses: the codes of package problem.
	BadRequest
	BadCredentials
	BadRecipient
	BadCursor
	BadKey
	Unauthorized
	ForbiddenOrigin
	ForbiddenNavigation
	NoSuchInbox
	MethodNotAllowed
	TooSlow
	TooLarge
	EncodedBody
	InboxFull
	StoreUnavailable
	ServerFull

	reasonCount // not a reason
)

// reasons holds each reason's name, and what it means in the log.
var reasons = [reasonCount]struct{ name, meaning string }{
	AddressRequests:     {"address-requests", "too many requests from one address"},
	AddressInboxes:      {"address-inboxes", "too many new inboxes from one address"},
	AddressPasswords:    {"address-passwords", "too many wrong passwords from one address"},
	AddressRecipients:   {"address-recipients", "too many messages from one address to peers that are not there"},
	AddressConnections:  {"address-connections", "too many open connections from one address"},
	AddressBytes:        {"address-bytes", "too many bytes on their way from one address"},
	IDPasswords:         {"id-passwords", "too many wrong passwords for one id"},
	SenderShare:         {"sender-share", "one sender has filled its part of an inbox"},
	ServerConnections:   {"server-connections", "the server accepted no connection for a second, since as many are open as may be"},
	UntrustedHeader:     {"untrusted-header", "addresses told by peers that --trusted-proxy does not list"},
	InvalidHeader:       {"invalid-header", "lists of proxies with an entry that is no address"},
	UntrustedProtocol:   {"untrusted-proxy-protocol", "PROXY protocol from peers that --trusted-proxy does not list"},
	InvalidProtocol:     {"invalid-proxy-protocol", "connections of trusted proxies that do not begin with the PROXY protocol, version 2"},
	InvalidSource:       {"invalid-proxy-address", "addresses in the PROXY protocol that no client has"},
	BadRequest:          {"bad-request", "requests against the protocol"},
	BadCredentials:      {"bad-credentials", "ids or passwords against the rules"},
	BadRecipient:        {"bad-recipient", "recipients that are not valid ids"},
	BadCursor:           {"bad-cursor", "cursors that this server has not given out"},
	BadKey:              {"bad-key", "idempotency keys against the rules"},
	Unauthorized:        {"unauthorized", "wrong or missing passwords"},
	ForbiddenOrigin:     {"forbidden-origin", "pages of origins that --allow-origin does not list"},
	ForbiddenNavigation: {"forbidden-navigation", "inboxes opened like pages in a browser"},
	NoSuchInbox:         {"no-such-inbox", "recipients that are not there"},
	MethodNotAllowed:    {"method-not-allowed", "methods that an inbox does not know"},
	TooSlow:             {"too-slow", "messages that took too long to arrive"},
	TooLarge:            {"too-large", "messages larger than --max-body"},
	EncodedBody:         {"encoded-body", "compressed messages"},
	InboxFull:           {"inbox-full", "inboxes that are full because their owners do not read"},
	StoreUnavailable:    {"store-unavailable", "the inboxes could not be reached"},
	ServerFull:          {"server-full", "the server is full"},
}

// String returns the name, as in metrics.
func (r Reason) String() string { return reasons[r].name }

// Meaning says for people what was refused, without naming anybody.
func (r Reason) Meaning() string { return reasons[r].meaning }

// Expected reports whether clients run into r in normal use: a caller repeats its
// message until the other peer is there. The log leaves it out, and what it has said
// already.
func (r Reason) Expected() bool { return r == NoSuchInbox || r == ServerConnections }

// IsLimit reports whether r is a limit of this server, which an operator can raise, and
// not a mistake of the client.
func (r Reason) IsLimit() bool {
	return r <= ServerConnections || r >= InboxFull
}

// Reasons returns every reason.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// ReasonOf returns the reason that is called like the code of a problem, and false if the
// problem refuses nothing: it is the end of a stay, or a limit that is counted where it
// is reached.
func ReasonOf(code string) (Reason, bool) {
	for r := BadRequest; r < reasonCount; r++ {
		if reasons[r].name == code {
			return r, true
		}
	}
	return 0, false
}
