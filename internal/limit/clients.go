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

// Config sets what one client may do. Zero values set no limit.
type Config struct {
	Requests    Rate  // requests, and frames that send a message
	Inboxes     Rate  // newly opened inboxes
	Recipients  Rate  // messages to recipients without an inbox
	Copies      Rate  // copies of publications, one for each subscriber at this server
	Connections int64 // concurrent connections
	Bytes       int64 // bytes in flight
	Kept        int64 // bytes in the inboxes it has opened

	Refusals *meter.Refusals // counts what is refused
}

const (
	// addresses bounds how many addresses the server remembers. Nearly every address
	// makes requests and opens an inbox, so one row counts both.
	addresses = 1 << 16
	// rareAddresses bounds the table for events that few addresses cause.
	rareAddresses = 1 << 12
)

// Kinds of events, first those of the usual table, then those of the rare one.
const (
	requests = iota
	inboxes

	recipients = iota - 2
	ignored
	frames
	copies
)

// framesPerRequest is the number of acknowledgement frames allowed per allowed request.
const framesPerRequest = 10

// Clients enforce the limits per client. They are safe for concurrent use. Nil Clients
// and invalid addresses are not limited.
type Clients struct {
	usual, rare        *Table
	connections, bytes *Shares
	kept               *Shares // bytes in the inboxes of a memory store
	refusals           *meter.Refusals
	shared             atomic.Bool // whether a proxy has shared a connection among clients
}

// NewClients returns the limits of a server.
func NewClients(c Config) *Clients {
	return &Clients{
		connections: NewShares(c.Connections), bytes: NewShares(c.Bytes), kept: NewShares(c.Kept),
		usual: tableOf(addresses, c.Requests, c.Inboxes),
		// A client that ignores its refusals gets as many answers as it may make
		// requests, and then none.
		rare:     tableOf(rareAddresses, c.Recipients, c.Requests, c.Requests.times(framesPerRequest), c.Copies),
		refusals: c.Refusals,
	}
}

// tableOf returns a table, or nil if no rate is limited.
func tableOf(addresses int, rates ...Rate) *Table {
	if !slices.ContainsFunc(rates, func(r Rate) bool { return !r.Off() }) {
		return nil
	}
	return NewTable(addresses, rates...)
}

// TableBytes returns the memory that the tables take, in bytes. It is constant.
func (c *Clients) TableBytes() int { return c.usual.Bytes() + c.rare.Bytes() }

// Request counts a request, or returns the problem to answer with. When it refuses a
// request, the caller asks Listens whether to answer at all.
func (c *Clients) Request(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	if c.shared.Load() && c.connections.Over(client) {
		return c.refuse(time.Second, meter.AddressConnections, client)
	}
	return c.refuse(c.usual.Take(c.usual.Key(client), requests, 1), meter.AddressRequests, client)
}

// Charge counts n more requests for one that has turned out to be expensive.
func (c *Clients) Charge(client netip.Addr, n int) {
	if c != nil && client.IsValid() && n > 0 {
		c.usual.Add(c.usual.Key(client), requests, n)
	}
}

// Listens counts a refusal and reports whether to send it. It reports false for a client
// that has ignored as many refusals as it may make requests.
func (c *Clients) Listens(client netip.Addr) bool {
	return c == nil || !client.IsValid() || c.rare.Take(c.rare.Key(client), ignored, 1) == 0
}

// Frame counts a frame that sends no message, or returns the problem that ends the
// socket. The limit is far above what a well-behaved client needs.
func (c *Clients) Frame(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	return c.refuse(c.rare.Take(c.rare.Key(client), frames, 1), meter.AddressRequests, client)
}

// Publish counts a publication with its copies and returns 0. If earlier publications
// have used up the client's rate, it counts nothing and returns how long the client has
// to wait. One publication may exceed the burst: the next one waits for it.
func (c *Clients) Publish(client netip.Addr, n int) (wait time.Duration) {
	if c == nil || !client.IsValid() {
		return 0
	}
	k := c.rare.Key(client)
	if wait = c.rare.Wait(k, copies); wait > 0 {
		c.refusals.Add(meter.AddressCopies, client)
		return wait
	}
	c.rare.Add(k, copies, n)
	return 0
}

// Connect counts a connection until Disconnect, or returns the problem for which it is
// refused. A secure connection needs a handshake, so it also counts as a request. A
// client that has no requests left can still connect for as long as it Listens.
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

// Share counts a proxy's connection that currently serves a single client, until
// Disconnect. It never refuses; Request refuses a client that exceeds its number of
// connections.
func (c *Clients) Share(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.connections.Force(client, 1)
		if !c.shared.Load() {
			c.shared.Store(true)
		}
	}
}

// Disconnect releases a connection that Connect or Share has counted.
func (c *Clients) Disconnect(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.connections.Give(client, 1)
	}
}

// Held returns the number of networks with bytes in flight.
func (c *Clients) Held() int { return c.bytes.Networks() }

// Connected returns the number of networks with connections.
func (c *Clients) Connected() int { return c.connections.Networks() }

// Open implements [inbox.Quota]. It counts an inbox that is about to be opened, or
// returns the problem to answer with.
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

// Keep implements [inbox.Quota]. It counts the bytes that a memory store keeps.
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

// fourInSix is the upper half of an account that stands for an IPv4 address. No public
// IPv6 address begins with it.
const fourInSix = 0xffff

// accountOf packs an IPv4 address or an IPv6 /64 into a number other than 0.
func accountOf(client netip.Addr) uint64 {
	near := clientaddr.KeysOf(client).Near.Masked().Addr()
	if near.Is4() {
		four := near.As4()
		return fourInSix<<32 | uint64(binary.BigEndian.Uint32(four[:]))
	}
	six := near.As16()
	return max(1, binary.BigEndian.Uint64(six[:]))
}

// addressOf returns the first address of an account.
func addressOf(account uint64) netip.Addr {
	if account>>32 == fourInSix {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(account))))
	}
	var six [16]byte
	binary.BigEndian.PutUint64(six[:], account)
	return netip.AddrFrom16(six)
}

// Recipient returns the problem that answers a send if the client has sent to too many
// recipients without an inbox.
func (c *Clients) Recipient(client netip.Addr) error {
	if c == nil || !client.IsValid() {
		return nil
	}
	return c.refuse(c.rare.Wait(c.rare.Key(client), recipients), meter.AddressRecipients, client)
}

// Missing counts a message to a recipient without an inbox.
func (c *Clients) Missing(client netip.Addr) {
	if c != nil && client.IsValid() {
		c.rare.Add(c.rare.Key(client), recipients, 1)
	}
}

// Hold counts n bytes in flight for a client until Release, or returns the problem to
// answer with.
func (c *Clients) Hold(client netip.Addr, n int) error {
	if c == nil || n == 0 || c.bytes.Take(client, n) {
		return nil
	}
	return c.refuse(time.Second, meter.AddressBytes, client)
}

// Release releases n bytes that Hold has counted.
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
