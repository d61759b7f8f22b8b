package limit

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/problem"
)

// Config says what one address may do. A limit of 0 is none.
type Config struct {
	Requests    Rate  // requests, and frames that send
	Inboxes     Rate  // that are opened
	Recipients  Rate  // messages to peers that are not there
	Connections int64 // at a time
	Bytes       int64 // in flight
	Kept        int64 // bytes in the inboxes that it has opened

	Refusals *meter.Refusals // counts what is refused
}

const (
	// addresses is how many addresses the server remembers. Nearly every address makes
	// requests and opens an inbox, so a row for each holds both.
	addresses = 1 << 16
	// rareAddresses is how many it remembers of those that do what few do.
	rareAddresses = 1 << 12
)

// Kinds of events: of the table for all addresses, and of the one for few.
const (
	requests = iota
	inboxes

	recipients = iota - 2
	ignored
	frames
)

// framesPerRequest is how many acknowledgements a client may make for each request.
const framesPerRequest = 10

// Clients hold the limits of all addresses of a server. They are safe for concurrent
// use. Nil Clients limit nothing, and nobody limits an address that is not valid.
type Clients struct {
	usual, rare        *Table
	connections, bytes *Shares
	kept               *Shares // bytes in the inboxes of a store
	refusals           *meter.Refusals
	shared             atomic.Bool // a proxy has shared a connection among clients
}

// NewClients makes the limits of a server.
func NewClients(c Config) *Clients {
	return &Clients{
		connections: NewShares(c.Connections), bytes: NewShares(c.Bytes), kept: NewShares(c.Kept),
		usual: tableOf(addresses, c.Requests, c.Inboxes),
		// A client that goes on as before when it is told to wait is told as often as it
		// may ask, and then no more.
		rare:     tableOf(rareAddresses, c.Recipients, c.Requests, c.Requests.times(framesPerRequest)),
		refusals: c.Refusals,
	}
}

// tableOf returns a table, or nil if it would limit nothing.
func tableOf(addresses int, rates ...Rate) *Table {
	if !slices.ContainsFunc(rates, func(r Rate) bool { return !r.Off() }) {
		return nil
	}
	return NewTable(addresses, rates...)
}

// TableBytes returns how much memory the tables take, whoever comes.
func (c *Clients) TableBytes() int { return c.usual.Bytes() + c.rare.Bytes() }

// Request counts a request, or returns the problem that answers it. It is at once one of
// those that Listens counts.
func (c *Clients) Request(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	if c.shared.Load() && c.connections.Over(client) {
		return c.refuse(time.Second, meter.AddressConnections, client)
	}
	return c.refuse(c.usual.Take(c.usual.Key(client), requests, 1), meter.AddressRequests, client)
}

// Listens counts a refusal, and reports whether it is worth an answer: false for a
// client that has ignored as many answers as it may make requests.
func (c *Clients) Listens(client netip.Addr) bool {
	return c == nil || !client.IsValid() || c.rare.Take(c.rare.Key(client), ignored, 1) == 0
}

// Frame counts a frame that sends nothing, or returns the problem that ends its socket.
// A client may send far more of these than a client that means well does.
func (c *Clients) Frame(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	return c.refuse(c.rare.Take(c.rare.Key(client), frames, 1), meter.AddressRequests, client)
}

// Connect counts a connection until Disconnect, or returns the problem for which it is
// refused. One that is secure needs a handshake, which counts as a request. A client
// that has no request left is still answered over new connections, as long as it Listens.
func (c *Clients) Connect(client netip.Addr, secure bool) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	if secure && c.usual.Take(c.usual.Key(client), requests, 1) > 0 && !c.Listens(client) {
		return c.refuse(time.Second, meter.AddressRequests, client)
	}
	if !c.connections.Take(client, 1) {
		return c.refuse(time.Second, meter.AddressConnections, client)
	}
	return nil
}

// Share counts a connection of a proxy until Disconnect, as long as it is one client's.
// Request refuses a client that has more of them than it may.
func (c *Clients) Share(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.connections.Force(client, 1)
		if !c.shared.Load() {
			c.shared.Store(true)
		}
	}
}

// Disconnect returns a connection that Connect or Share has counted.
func (c *Clients) Disconnect(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.connections.Give(client, 1)
	}
}

// Held returns how many networks have bytes in flight.
func (c *Clients) Held() int { return c.bytes.Networks() }

// Connected returns how many networks have connections.
func (c *Clients) Connected() int { return c.connections.Networks() }

// Open implements [inbox.Quota]: it counts an inbox that is about to be opened, or
// returns the problem that answers the request.
func (c *Clients) Open(client netip.Addr) (account uint64, err error) {
	if c == nil || !client.IsValid() {
		return 0, nil
	}
	err = c.refuse(c.usual.Take(c.usual.Key(client), inboxes, 1), meter.AddressInboxes, client)
	if err == nil && c.kept != nil {
		account = accountOf(client)
	}
	return account, err
}

// Keep implements [inbox.Quota]: it counts what a store in memory keeps.
func (c *Clients) Keep(account uint64, n int64) bool {
	client := addressOf(account)
	if n < 0 {
		c.kept.Give(client, int(-n))
		return true
	}
	if c.kept.Take(client, int(n)) {
		return true
	}
	c.refusals.Add(meter.AddressBytes, client)
	return false
}

// fourInSix is the upper half of an account that is an IPv4 address. No address of the
// internet begins with it.
const fourInSix = 0xffff

// accountOf packs an IPv4 address or a /64 in a number that is not 0.
func accountOf(client netip.Addr) uint64 {
	near := clientaddr.KeysOf(client).Near.Masked().Addr()
	if near.Is4() {
		four := near.As4()
		return fourInSix<<32 | uint64(binary.BigEndian.Uint32(four[:]))
	}
	six := near.As16()
	return max(1, binary.BigEndian.Uint64(six[:]))
}

// addressOf is the first address of an account.
func addressOf(account uint64) netip.Addr {
	if account>>32 == fourInSix {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(account))))
	}
	var six [16]byte
	binary.BigEndian.PutUint64(six[:], account)
	return netip.AddrFrom16(six)
}

// Recipient returns the problem that answers a send if the client has sent to too many
// peers that are not there.
func (c *Clients) Recipient(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	return c.refuse(c.rare.Wait(c.rare.Key(client), recipients), meter.AddressRecipients, client)
}

// Missing counts a message to a peer that is not there.
func (c *Clients) Missing(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.rare.Add(c.rare.Key(client), recipients, 1)
	}
}

// Hold counts n bytes that the server holds for a client until Release, or returns the
// problem that answers it.
func (c *Clients) Hold(client netip.Addr, n int) error {
	if c == nil || n == 0 || c.bytes.Take(client, n) {
		return nil
	}
	return c.refuse(time.Second, meter.AddressBytes, client)
}

// Release returns n bytes that Hold has counted.
func (c *Clients) Release(client netip.Addr, n int) {
	if c != nil && n != 0 {
		c.bytes.Give(client, n)
	}
}

func (c *Clients) refuse(wait time.Duration, why meter.Reason, client netip.Addr) error {
	if wait == 0 {
		return nil
	}
	c.refusals.Add(why, client)
	return problem.RateLimited.After(wait)
}
