package meter

// A Reason is why the server refused something to a client. Its name appears in metrics
// and in the log.
//
// To add a reason, add a constant here and an entry to reasons.
type Reason uint8

const (
	// Limits per address or network.
	AddressRequests    Reason = iota // requests per second
	AddressInboxes                   // new inboxes per second
	AddressPasswords                 // wrong passwords
	AddressRecipients                // recipients without an inbox
	AddressConnections               // open connections
	AddressBytes                     // bytes in flight
	AddressCopies                    // copies of publications per second

	// Limits shared by all clients.
	IDPasswords       // wrong passwords for one id
	SenderShare       // one sender's share of an inbox
	TopicSubscribers  // subscribers of one topic
	TopicsOfClient    // topics of one connection
	SlowSubscriber    // publications for a subscriber that does not read
	TrackerSwarms     // swarms dropped for newer ones
	ServerConnections // counts seconds in which new connections had to wait

	// Client addresses reported by proxies, or by clients that pretend to be one.
	UntrustedHeader   // ignored: the peer is not a trusted proxy
	InvalidHeader     // the last known proxy counts as the client
	UntrustedProtocol // PROXY protocol from a peer that is not a trusted proxy
	InvalidProtocol   // malformed, or missing, from a trusted proxy
	InvalidSource     // PROXY protocol with an impossible client address: the proxy counts as the client

	// Errors of the protocol, named like the codes of package problem.
	BadRequest
	BadCredentials
	BadTopic
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

	reasonCount // number of reasons
)

// reasons contains each reason's name, and its meaning for the log.
var reasons = [reasonCount]struct{ name, meaning string }{
	AddressRequests:     {"address-requests", "too many requests from one address"},
	AddressInboxes:      {"address-inboxes", "too many new inboxes from one address"},
	AddressPasswords:    {"address-passwords", "too many wrong passwords from one address"},
	AddressRecipients:   {"address-recipients", "too many messages from one address to recipients without an inbox"},
	AddressConnections:  {"address-connections", "too many open connections from one address"},
	AddressBytes:        {"address-bytes", "too many bytes in flight from one address"},
	AddressCopies:       {"address-copies", "too many copies of publications from one address, which has to wait"},
	IDPasswords:         {"id-passwords", "too many wrong passwords for one id"},
	SenderShare:         {"sender-share", "one sender has filled its share of an inbox"},
	TopicSubscribers:    {"topic-subscribers", "subscriptions to a topic that has its maximum of subscribers"},
	TopicsOfClient:      {"connection-topics", "subscriptions of a connection that has its maximum of topics"},
	SlowSubscriber:      {"slow-subscriber", "publications for subscribers that do not read"},
	TrackerSwarms:       {"tracker-swarms", "swarms that the tracker dropped for newer ones"},
	ServerConnections:   {"server-connections", "the server is at its limit of connections and accepted none for a second"},
	UntrustedHeader:     {"untrusted-header", "client addresses from peers that --trusted-proxy does not list"},
	InvalidHeader:       {"invalid-header", "proxy headers with an invalid address"},
	UntrustedProtocol:   {"untrusted-proxy-protocol", "PROXY protocol from peers that --trusted-proxy does not list"},
	InvalidProtocol:     {"invalid-proxy-protocol", "connections from trusted proxies without a valid PROXY protocol header, version 2"},
	InvalidSource:       {"invalid-proxy-address", "PROXY protocol headers with an impossible client address"},
	BadRequest:          {"bad-request", "requests that violate the protocol"},
	BadCredentials:      {"bad-credentials", "malformed ids or passwords"},
	BadTopic:            {"bad-topic", "topic names that are empty or too long"},
	BadRecipient:        {"bad-recipient", "recipients that are not valid ids"},
	BadCursor:           {"bad-cursor", "cursors that this server never issued"},
	BadKey:              {"bad-key", "malformed idempotency keys"},
	Unauthorized:        {"unauthorized", "wrong or missing passwords"},
	ForbiddenOrigin:     {"forbidden-origin", "pages of origins that --allow-origin does not list"},
	ForbiddenNavigation: {"forbidden-navigation", "inboxes opened as pages in a browser"},
	NoSuchInbox:         {"no-such-inbox", "recipients without an inbox"},
	MethodNotAllowed:    {"method-not-allowed", "methods that an inbox does not support"},
	TooSlow:             {"too-slow", "messages that took too long to arrive"},
	TooLarge:            {"too-large", "messages larger than --max-body"},
	EncodedBody:         {"encoded-body", "compressed messages"},
	InboxFull:           {"inbox-full", "messages to full inboxes, whose owners do not read"},
	StoreUnavailable:    {"store-unavailable", "the store was unavailable"},
	ServerFull:          {"server-full", "the server is full"},
}

// String returns the name used in metrics.
func (r Reason) String() string { return reasons[r].name }

// Meaning describes the refused requests in words.
func (r Reason) Meaning() string { return reasons[r].meaning }

// Expected reports whether clients run into r in normal use: a caller repeats its message
// until the other peer is there. The log omits expected reasons, and those that it
// reports elsewhere.
func (r Reason) Expected() bool { return r == NoSuchInbox || r == ServerConnections }

// IsLimit reports whether r is a limit of this server, which an operator can raise,
// rather than a client's mistake.
func (r Reason) IsLimit() bool {
	return r <= ServerConnections || r >= InboxFull
}

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// ReasonOf returns the reason for the code of a problem. It reports false for codes that
// are not refusals, such as the end of a stay, and for limits, which are counted where
// they are enforced.
func ReasonOf(code string) (Reason, bool) {
	for r := BadRequest; r < reasonCount; r++ {
		if reasons[r].name == code {
			return r, true
		}
	}
	return 0, false
}
