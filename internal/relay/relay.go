// Package relay is a TURN server (RFC 8656), which calls fall back to when their peers
// cannot connect directly. pion/turn implements the protocol; this package decides who may
// relay, for how long, and how much.
//
// In closed mode, the allocations of this server reach each other in memory (see
// [Switch]): nothing that a client sends leaves the process except to another client. In
// open mode, allocations are UDP sockets of this machine, which reach any public address.
// Create a [Server] with New, add listeners with ListenUDP, Serve and ServeConn, and call
// Run to follow changes of the machine's addresses.
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
	// MaxAllocations bounds the allocations of one inbox. A browser that gathers
	// candidates for audio, video and data separately uses up to 16 for a call, and a
	// machine with three networks uses 40.
	MaxAllocations = 64

	// maxOfAddress bounds the allocations of all clients at one address, or in one IPv6
	// /64, for a whole company behind a NAT. Twice as many connections are allowed. It
	// keeps an attacker with many inboxes from taking all ports.
	maxOfAddress = 1024

	// maxChannels and maxPermissions bound one allocation. pion searches the channels
	// linearly for each packet, and keeps a timer per permission.
	maxChannels    = 64
	maxPermissions = 256 // in open mode; closed mode has only one address

	// idle is the minimum time for which an allocation lives without relaying a packet;
	// the maximum is twice that. While a call rings there are no packets, and a pair with
	// a direct path only tests the relay occasionally.
	idle = 5 * time.Minute
)

// Config configures a Server.
type Config struct {
	Credentials *turncred.Authority
	Log         *slog.Logger

	Rate      int64 // payload per inbox, in bytes per second; 0: no limit
	RateTotal int64 // payload in total, in bytes per second; 0: no limit

	// Address is the virtual address of closed mode. It should be unroutable.
	Address netip.Addr
	// Open selects open mode, if not nil.
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
	replies   *limit.Table  // unauthenticated responses over UDP
	conns     *intake       // connections from ServeConn

	scan       sync.Mutex // guards the fields below
	bound      map[netip.Addr][]*turn.Server
	everywhere uint16 // port bound on all addresses, or 0

	mu      sync.Mutex            // guards the fields below
	turns   map[*turn.Server]bool // one per listener
	sockets map[netip.AddrPort]*packetConn
	intakes []*intake
	closed  bool
}

// Figures are the counters of a Server.
type Figures struct {
	Allocations atomic.Int64 // existing
	Allocated   atomic.Int64 // created so far
	Connections atomic.Int64 // existing, over TCP and TLS
	Packets     atomic.Int64 // relayed
	Bytes       atomic.Int64 // of payload relayed

	// Dropped packets.
	DroppedQueue  atomic.Int64 // the receiver is too slow
	DroppedRate   atomic.Int64 // the inbox exceeds its rate
	DroppedTotal  atomic.Int64 // the server exceeds its total rate
	DroppedPeer   atomic.Int64 // the peer does not exist, or has not sent to the sender
	DroppedSource atomic.Int64 // responses to unauthenticated requests, over the limit of their source

	// Refused requests.
	RefusedRealm    atomic.Int64 // wrong realm
	RefusedName     atomic.Int64 // user name not issued by this server
	RefusedExpired  atomic.Int64
	RefusedPassword atomic.Int64
	RefusedQuota    atomic.Int64 // the inbox has MaxAllocations
	RefusedAddress  atomic.Int64 // the address has too many allocations or connections
	RefusedPeer     atomic.Int64 // permissions not granted

	// Allocations ended by the server.
	EndedIdle  atomic.Int64
	EndedGreed atomic.Int64 // exceeded maxChannels or maxPermissions
}

// generator is a mode. It creates relayed addresses.
type generator interface {
	turn.RelayAddressGenerator
	permits(peer netip.Addr) bool
	hasIPv6() bool
	find(netip.AddrPort) *allocation // nil if not found
}

// New returns a Server without listeners.
func New(c Config) (*Server, error) {
	s := &Server{
		log: c.Log, keys: c.Credentials,
		users:   newAccounts(c.Rate, c.RateTotal),
		sources: limit.NewShares(maxOfAddress), connected: limit.NewShares(2 * maxOfAddress),
		// A browser on a machine with three networks sends 40 requests at once.
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
		OnAllocationDeleted: func(_, dst net.Addr, _, _, _ string) { s.lostAllocation(dst) },
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

// servePacket takes ownership of c, which is bound to one address, and serves its
// clients.
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

// Serve takes ownership of ln and serves its connections until Close. It does not block.
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

// ServeConn takes ownership of c, whose client uses TURN, and serves it. c may be a TLS
// connection.
func (s *Server) ServeConn(c net.Conn) { s.conns.add(c) }

// serve starts a TURN server for one listener, so that listeners can be added and
// removed. s contains their shared state.
func (s *Server) serve(c turn.ServerConfig) (*turn.Server, error) {
	c.LoggerFactory = logs{s.log}
	c.Realm = turncred.Realm
	c.AuthHandler = s.authenticate
	c.QuotaHandler = s.hasRoom
	c.EventHandler = s.events
	c.StrictAddressFamily = true // otherwise clients of both families get relays that cannot reach each other
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

// addTurn registers a TURN server and its listeners for Close.
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
		in.closeConns() // pion leaves them open
	}
	return all
}

// authenticate returns the key for the user name in r. Expired credentials can keep an
// allocation alive, but not create one.
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

// hasRoom makes pion respond with 486 if the inbox or the address has too many
// allocations. Otherwise it would respond with 508.
func (s *Server) hasRoom(user, _ string, src net.Addr) bool {
	if s.users.allocations(user) >= MaxAllocations {
		s.Figures.RefusedQuota.Add(1)
		return false
	}
	// Undo this immediately: the allocation counts itself, since only it knows when it
	// ends.
	if !s.sources.Take(source(src), 1) {
		s.Figures.RefusedAddress.Add(1)
		return false
	}
	s.sources.Give(source(src), 1)
	return true
}

// lostAllocation notifies a connection that its allocation has ended.
func (s *Server) lostAllocation(local net.Addr) {
	if _, ok := local.(*net.TCPAddr); !ok {
		return
	}
	s.mu.Lock()
	intakes := s.intakes
	s.mu.Unlock()
	for _, in := range intakes {
		if c := in.of(local); c != nil {
			c.lostAllocation()
		}
	}
}

// source returns the IP address of a client.
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

// count calls change with the allocation at a relayed address, and ends the allocation if
// change returns false. pion holds locks meanwhile.
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

// addrPort converts an address to its normal form. pion uses both 4 and 16 bytes.
func addrPort(a *net.UDPAddr) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
}
