package relay

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
	"go.uber.org/goleak"

	"inbox/internal/inboxtest"
	"inbox/internal/turncred"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var virtual = netip.MustParseAddr("198.51.100.1")

// service is a server with a listener of each kind on the loopback interface.
type service struct {
	testing.TB
	*Server
	udp, tcp, tls string // addresses
	config        *tls.Config
	taken         []*port // in a bubble
}

func start(tb testing.TB, change ...func(*Config)) *service {
	tb.Helper()
	c := Config{Credentials: turncred.FromPepper([32]byte{1}), Log: slog.New(slog.DiscardHandler), Address: virtual}
	for _, f := range change {
		f(&c)
	}
	server, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	s := &service{TB: tb, Server: server}
	tb.Cleanup(func() {
		s.Close()
		inboxtest.Until(tb, "all allocations and connections have ended", func() bool {
			return s.Figures.Allocations.Load() == 0 && s.Figures.Connections.Load() == 0
		})
	})
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	port, err := s.ListenUDP(loopback, 0)
	if err != nil {
		tb.Fatal(err)
	}
	s.udp = netip.AddrPortFrom(loopback, port).String()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.tcp = tcp.Addr().String()
	if err := s.Serve(tcp); err != nil {
		tb.Fatal(err)
	}
	certificate := inboxtest.NewCertificate(tb, "test")
	secure, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate.Pair}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { secure.Close() })
	s.tls, s.config = secure.Addr().String(), &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	go func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			go func() {
				if c.(*tls.Conn).Handshake() == nil {
					s.ServeConn(c)
				}
			}()
		}
	}()
	return s
}

// over returns a client's connection.
func (s *service) over(transport string) net.PacketConn {
	s.Helper()
	var conn net.Conn
	var err error
	switch transport {
	case "udp":
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			s.Fatal(err)
		}
		return c
	case "tcp":
		conn, err = net.Dial("tcp4", s.tcp)
	case "tls":
		conn, err = tls.Dial("tcp4", s.tls, s.config)
	}
	if err != nil {
		s.Fatal(err)
	}
	return turn.NewSTUNConn(conn)
}

type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger { return logs{slog.New(slog.DiscardHandler)} }

// client returns a client of an inbox.
func (s *service) client(transport, id string, change ...func(*turn.ClientConfig)) *turn.Client {
	s.Helper()
	minted := s.keys.Mint(id, time.Now())
	c := turn.ClientConfig{
		STUNServerAddr: s.udp, TURNServerAddr: s.udp, Conn: s.over(transport),
		Username: minted.Username, Password: minted.Password, Realm: turncred.Realm, LoggerFactory: quiet{},
	}
	for _, f := range change {
		f(&c)
	}
	client, err := turn.NewClient(&c)
	if err != nil {
		s.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { client.Close(); c.Conn.Close() })
	return client
}

// allocate returns a relayed connection of an inbox.
func (s *service) allocate(transport, id string) net.PacketConn {
	s.Helper()
	c, err := s.client(transport, id).Allocate()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// meet makes two allocations permit each other, as ICE checks do.
func (s *service) meet(a, b net.PacketConn) {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for heard := 0; heard < 2; {
		if time.Now().After(deadline) {
			s.Fatal("the two allocations do not reach each other")
		}
		heard = 0
		for _, way := range [][2]net.PacketConn{{a, b}, {b, a}} {
			if _, err := way[0].WriteTo([]byte("check"), way[1].LocalAddr()); err != nil {
				s.Fatal(err)
			}
		}
		for _, c := range []net.PacketConn{a, b} {
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, _, err := c.ReadFrom(make([]byte, 1600)); err == nil {
				heard++
			}
		}
	}
	drain(a)
	drain(b)
}

// drain discards packets that are still on their way.
func drain(c net.PacketConn) {
	for {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, _, err := c.ReadFrom(make([]byte, 1600)); err != nil {
			c.SetReadDeadline(time.Time{})
			return
		}
	}
}

// Two clients reach each other at the virtual address, over every pair of transports.
func TestRelays(t *testing.T) {
	s := start(t)
	for _, pair := range [][2]string{{"udp", "udp"}, {"tcp", "tcp"}, {"tls", "tls"}, {"udp", "tcp"}, {"udp", "tls"}, {"tls", "tcp"}} {
		t.Run(pair[0]+" "+pair[1], func(t *testing.T) {
			a, b := s.allocate(pair[0], "alice"), s.allocate(pair[1], "bob")
			for _, c := range []net.PacketConn{a, b} {
				u := c.LocalAddr().(*net.UDPAddr)
				if !u.IP.Equal(net.IP(virtual.AsSlice())) || u.Port < firstPort {
					t.Errorf("relayed address %v", u)
				}
			}
			s.meet(a, b)
			for _, way := range [][2]net.PacketConn{{a, b}, {b, a}} {
				for _, size := range []int{5, 120, 1200, 1400} {
					sent := fmt.Appendf(nil, "%0*d", size, 7)
					if _, err := way[0].WriteTo(sent, way[1].LocalAddr()); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 1600)
					way[1].SetReadDeadline(time.Now().Add(10 * time.Second))
					n, from, err := way[1].ReadFrom(got)
					if err != nil || string(got[:n]) != string(sent) || from.String() != way[0].LocalAddr().String() {
						t.Fatalf("%d bytes: got %q from %v, %v", size, got[:n], from, err)
					}
				}
			}
		})
	}
	if s.Figures.Packets.Load() < 48 || s.Figures.Bytes.Load() < 48*100 {
		t.Errorf("counted %d packets of %d bytes", s.Figures.Packets.Load(), s.Figures.Bytes.Load())
	}
}

// Close ends allocations, listeners and connections, including those that pion leaves
// open.
func TestCloseEndsEverything(t *testing.T) {
	s := start(t)
	for _, transport := range []string{"udp", "tcp", "tls"} {
		s.allocate(transport, "alice")
	}
	idle, err := net.Dial("tcp4", s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	inboxtest.Until(t, "the server has the connections", func() bool { return s.Figures.Connections.Load() == 3 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := idle.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a closed connection", n)
	}
	inboxtest.Until(t, "all allocations and connections have ended", func() bool {
		return s.Figures.Allocations.Load() == 0 && s.Figures.Connections.Load() == 0
	})
	if _, err := s.ListenUDP(netip.AddrFrom4([4]byte{127, 0, 0, 2}), 0); err == nil {
		t.Error("a closed server accepts a listener")
	}
	c, other := net.Pipe()
	s.ServeConn(c)
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("a closed server accepts a connection")
	}
}

// The second port only supports STUN.
func TestSecondPort(t *testing.T) {
	s := start(t)
	for range 10 { // retry if the next port is taken
		port, err := s.ListenUDP(netip.MustParseAddr("127.0.0.1"), 0)
		if err != nil {
			t.Fatal(err)
		}
		second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port+1).String()
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := turn.NewClient(&turn.ClientConfig{
			STUNServerAddr: second, TURNServerAddr: second, Conn: conn, Username: "anybody", Password: "any",
			LoggerFactory: logs{slog.New(slog.DiscardHandler)}, RTO: 50 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Listen(); err != nil {
			t.Fatal(err)
		}
		mapped, err := c.SendBindingRequest()
		if err == nil && mapped.String() != conn.LocalAddr().String() {
			t.Errorf("mapped is %v, want %v", mapped, conn.LocalAddr())
		}
		if err == nil {
			if _, err := c.Allocate(); err == nil {
				t.Error("the second port provides relayed addresses")
			}
		}
		c.Close()
		conn.Close()
		if err == nil {
			return
		}
	}
	t.Error("no second port responds")
}
