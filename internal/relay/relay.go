// Package relay is the TURN server (RFC 8656) that calls fall back to when their peers
// cannot reach each other. pion/turn speaks the protocol; this package decides who gets
// what, for how long, and how much of it.
//
// In closed mode, allocations of this server meet in memory (see [Switch]): nothing that
// a client sends leaves the process except towards another client. In open mode,
// allocations are UDP sockets of this machine, which reach any public address.
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/limit"
	"inbox/internal/turncred"
)

const (
	// MaxAllocations is how many allocations one inbox may have. A call with audio, video
	// and data takes up to 16 in a browser that gathers for each of them, and a machine
	// with three networks takes 40 for one call.
	MaxAllocations = 64

	// maxOfAddress is how many allocations the clients of one address may have, or of one
	// /64 of IPv6, and half of how many connections: a whole company behind a NAT. It keeps one attacker with many inboxes
	// from taking all ports.
	maxOfAddress = 1024

	// maxChannels and maxPermissions bound an allocation: pion looks through its channels
	// one by one for each packet, and keeps a timer for each permission.
	maxChannels    = 64
	maxPermissions = 256 // of open mode: the other has one address

	// idle is how long an allocation lives without relaying a packet, at least; at most
	// twice as long. A peer that rings has no packets yet, and a pair that has found a
	// direct path only tests the relay now and then.
	idle = 5 * time.Minute
)

// Config says how to relay.
type Config struct {
	Credentials *turncred.Authority
	Log         *slog.Logger

	Rate      int64 // payload of one inbox, in bytes a second; 0: no limit
	RateTotal int64 // payload of all, in bytes a second; 0: no limit

	// Address is the virtual address of closed mode, an unroutable one.
	Address netip.Addr
	// Open, if not nil, selects open mode.
	Open *Open
}

// A Server relays between the clients of all its listeners. It is safe for concurrent
// use.
type Server struct {
	Figures Figures

	log     *slog.Logger
	keys    *turncred.Authority
	events  turn.EventHandler
	relays  generator
	users   *accounts
	sources *limit.Shares // allocations by address

	connected *limit.Shares // connections by address
	replies   *limit.Table  // unauthenticated answers over UDP
	conns     *intake       // connections that ServeConn was given

	scan       sync.Mutex // guards what follows
	bound      map[netip.Addr][]*turn.Server
	everywhere uint16 // the port that is bound on all addresses, or 0

	mu      sync.Mutex            // guards what follows
	turns   map[*turn.Server]bool // one for each listener
	sockets map[netip.AddrPort]*packetConn
	intakes []*intake
	closed  bool
}

// Figures count what a server does.
type Figures struct {
	Allocations atomic.Int64 // that exist
	Allocated   atomic.Int64 // that have been made
	Connections atomic.Int64 // over TCP and TLS, that exist
	Packets     atomic.Int64 // relayed
	Bytes       atomic.Int64 // of their payload

	// Packets that were dropped.
	DroppedQueue  atomic.Int64 // the receiver does not keep up
	DroppedRate   atomic.Int64 // the inbox is over its rate
	DroppedTotal  atomic.Int64 // the server is over its rate
	DroppedPeer   atomic.Int64 // nobody is at the address, or it has not sent anything there itself
	DroppedSource atomic.Int64 // answers to unauthenticated requests, over the rate of their source

	// Requests that were refused.
	RefusedRealm    atomic.Int64 // for another realm
	RefusedName     atomic.Int64 // a user name that we have not minted
	RefusedExpired  atomic.Int64
	RefusedPassword atomic.Int64
	RefusedQuota    atomic.Int64 // the inbox has MaxAllocations
	RefusedAddress  atomic.Int64 // the address has as many allocations or connections as it may
	RefusedPeer     atomic.Int64 // permissions that were asked for and not granted

	// Allocations that the server has ended.
	EndedIdle  atomic.Int64
	EndedGreed atomic.Int64 // more than maxChannels or maxPermissions
}

// generator is a mode: it makes the relayed transport addresses.
type generator interface {
	turn.RelayAddressGenerator
	permits(peer netip.Addr) bool
	hasIPv6() bool
	find(netip.AddrPort) *allocation // nil: there is none
}

// New returns a server without listeners.
func New(c Config) (*Server, error) {
	s := &Server{
		log: c.Log, keys: c.Credentials,
		users:   newAccounts(c.Rate, c.RateTotal),
		sources: limit.NewShares(maxOfAddress), connected: limit.NewShares(2 * maxOfAddress),
		// A browser on a machine with three networks asks 40 times at once.
		bound: make(map[netip.Addr][]*turn.Server), turns: make(map[*turn.Server]bool), sockets: make(map[netip.AddrPort]*packetConn),
		replies: limit.NewTable(4096, limit.Rate{PerSecond: 10, Burst: 100}),
	}
	switch {
	case c.Credentials == nil:
		return nil, errors.New("relay: no credentials")
	case c.Open != nil:
		open, err := newOpen(s, *c.Open)
		if err != nil {
			return nil, err
		}
		s.relays = open
	case !c.Address.Is4():
		return nil, fmt.Errorf("relay: the virtual address %v is not IPv4", c.Address)
	default:
		s.relays = newSwitch(s, c.Address)
	}
	s.events = turn.EventHandler{
		OnAuth: func(_, _ net.Addr, _, _, _, _ string, verdict bool) {
			if !verdict {
				s.Figures.RefusedPassword.Add(1)
			}
		},
		OnAllocationCreated: func(src, dst net.Addr, _, _, _ string, relay net.Addr, _ int) {
			s.reach(src, dst, relay)
			s.count(relay, func(a *allocation) bool { return a.from(source(src)) })
		},
		OnAllocationDeleted: func(_, dst net.Addr, _, _, _ string) { s.bereft(dst) },
		OnPermissionCreated: func(_, _ net.Addr, _, _, _ string, relay net.Addr, peer net.IP) {
			s.count(relay, func(a *allocation) bool { return a.permitted(peer, true) })
		},
		OnPermissionDeleted: func(_, _ net.Addr, _, _, _ string, relay net.Addr, peer net.IP) {
			s.count(relay, func(a *allocation) bool { return a.permitted(peer, false) })
		},
		OnChannelCreated: func(_, _ net.Addr, _, _, _ string, relay, peer net.Addr, number uint16) {
			s.bind(relay, peer, number)
			s.count(relay, func(a *allocation) bool { return a.channels.Add(1) <= maxChannels })
		},
		OnChannelDeleted: func(_, _ net.Addr, _, _, _ string, relay, peer net.Addr, _ uint16) {
			s.bind(relay, peer, 0)
			s.count(relay, func(a *allocation) bool { return a.channels.Add(-1) <= maxChannels })
		},
	}
	s.conns = newIntake(s, nil)
	if err := s.serveIntake(s.conns); err != nil {
		return nil, err
	}
	return s, nil
}

// servePacket takes ownership of c, which has one address, and serves its clients.
func (s *Server) servePacket(c *net.UDPConn) (*turn.Server, error) {
	p := &packetConn{UDPConn: c, s: s}
	local := addrPort(c.LocalAddr().(*net.UDPAddr))
	s.mu.Lock()
	s.sockets[local] = p
	s.mu.Unlock()
	t, err := s.serve(turn.ServerConfig{PacketConnConfigs: []turn.PacketConnConfig{{
		PacketConn: p, RelayAddressGenerator: s.relays, PermissionHandler: s.permit,
	}}})
	if err != nil {
		c.Close()
	}
	return t, err
}

// Serve takes ownership of ln and serves its connections, until Close.
func (s *Server) Serve(ln net.Listener) error { return s.serveIntake(newIntake(s, ln)) }

func (s *Server) serveIntake(in *intake) error {
	_, err := s.serve(turn.ServerConfig{ListenerConfigs: []turn.ListenerConfig{{
		Listener: in, RelayAddressGenerator: s.relays, PermissionHandler: s.permit,
	}}})
	if err != nil {
		in.Close()
	}
	return err
}

// ServeConn takes ownership of a connection whose client speaks TURN, with or without
// TLS. It does not block.
func (s *Server) ServeConn(c net.Conn) { s.conns.add(c) }

// serve starts a TURN server. Each listener has its own, so that listeners can come and
// go; what they share is in s.
func (s *Server) serve(c turn.ServerConfig) (*turn.Server, error) {
	c.LoggerFactory = logs{s.log}
	c.Realm = turncred.Realm
	c.AuthHandler = s.authenticate
	c.QuotaHandler = s.hasRoom
	c.EventHandler = s.events
	c.StrictAddressFamily = true // else clients of the two families get relays that cannot talk to each other
	c.PermissionTimeout = 5 * time.Minute
	t, err := turn.NewServer(c)
	if err != nil {
		return nil, err
	}
	intakes := make([]*intake, 0, 1)
	for _, l := range c.ListenerConfigs {
		intakes = append(intakes, l.Listener.(*intake))
	}
	return t, s.addTurn(t, intakes...)
}

// addTurn has Close end a TURN server and its listeners.
func (s *Server) addTurn(t *turn.Server, intakes ...*intake) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(net.ErrClosed, t.Close())
	}
	s.turns[t] = true
	s.intakes = append(s.intakes, intakes...)
	return nil
}

// Close ends all allocations, listeners and connections.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var all error
	for t := range s.turns {
		all = errors.Join(all, t.Close())
	}
	for _, in := range s.intakes {
		in.closeConns() // which pion leaves open
	}
	return all
}

// authenticate returns the key of the client that r names. Credentials that have expired
// keep an allocation alive, but begin none.
func (s *Server) authenticate(r *turn.RequestAttributes) (user string, key []byte, ok bool) {
	claim, ok := s.keys.Verify(r.Username)
	switch {
	case r.Realm != turncred.Realm:
		s.Figures.RefusedRealm.Add(1)
		return "", nil, false
	case !ok:
		s.Figures.RefusedName.Add(1)
		return "", nil, false
	case r.Method == stun.MethodAllocate && !time.Now().Before(claim.Expires):
		s.Figures.RefusedExpired.Add(1)
		return "", nil, false
	}
	return claim.User, turn.GenerateAuthKey(r.Username, turncred.Realm, claim.Password), true
}

// hasRoom answers with 486 where the generator could only say 508.
func (s *Server) hasRoom(user, _ string, src net.Addr) bool {
	if s.users.allocations(user) >= MaxAllocations {
		s.Figures.RefusedQuota.Add(1)
		return false
	}
	// What is taken here is given back: only the allocation knows when it ends.
	if !s.sources.Take(source(src), 1) {
		s.Figures.RefusedAddress.Add(1)
		return false
	}
	s.sources.Give(source(src), 1)
	return true
}

// bereft tells a connection that its allocation has ended.
func (s *Server) bereft(local net.Addr) {
	if _, ok := local.(*net.TCPAddr); !ok {
		return
	}
	s.mu.Lock()
	intakes := s.intakes
	s.mu.Unlock()
	for _, in := range intakes {
		if c := in.of(local); c != nil {
			c.bereft()
		}
	}
}

// source returns the address of a client.
func source(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (s *Server) permit(_ net.Addr, peer net.IP) bool {
	if a, ok := netip.AddrFromSlice(peer); ok && s.relays.permits(a.Unmap()) {
		return true
	}
	s.Figures.RefusedPeer.Add(1)
	return false
}

// count calls change with the allocation at a relayed address, and ends that if it has too
// much now. pion holds locks.
func (s *Server) count(relay net.Addr, change func(*allocation) bool) {
	u, ok := relay.(*net.UDPAddr)
	if !ok {
		return
	}
	a := s.relays.find(addrPort(u))
	if a == nil || change(a) {
		return
	}
	s.Figures.EndedGreed.Add(1)
	go a.end()
}

// addrPort returns the normalized form of an address, which pion has in 4 or 16 bytes.
func addrPort(a *net.UDPAddr) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
}
