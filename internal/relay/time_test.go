package relay

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/turncred"
)

// bubble runs f with a server whose connections are in memory and whose clock is fake.
func bubble(t *testing.T, f func(*testing.T, *service), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Credentials: turncred.FromPepper([32]byte{1}), Log: slog.New(slog.DiscardHandler), Address: virtual}
		for _, f := range change {
			f(&c)
		}
		server, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		s := &service{TB: t, Server: server}
		f(t, s)
		for _, p := range s.taken {
			p.Close()
		}
		server.Close()
		synctest.Wait()
		if a, c := server.Figures.Allocations.Load(), server.Figures.Connections.Load(); a != 0 || c != 0 {
			t.Errorf("%d allocations and %d connections are left", a, c)
		}
	})
}

// piped is the end of a pipe with a client's address.
type piped struct{ net.Conn }

func (piped) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234} }

func (s *service) pipe() net.Conn {
	ours, theirs := net.Pipe()
	s.ServeConn(piped{ours})
	s.Cleanup(func() { theirs.Close() })
	return theirs
}

// closedAfter returns how long the server keeps a connection open.
func closedAfter(c net.Conn) time.Duration {
	begun := time.Now()
	c.SetReadDeadline(time.Time{})
	io.Copy(io.Discard, c)
	return time.Since(begun).Round(time.Second)
}

// A connection without an allocation ends after half a minute, whatever it sends.
func TestConnectionsWithoutAllocationAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		if got := closedAfter(s.pipe()); got != strangerTimeout {
			t.Errorf("a silent connection: %v", got)
		}
		busy := s.pipe()
		go func() {
			for {
				request, _ := stun.Build(stun.TransactionID, stun.BindingRequest)
				if _, err := busy.Write(request.Raw); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if got := closedAfter(busy); got != strangerTimeout {
			t.Errorf("a connection with repeated Binding requests: %v", got)
		}
		half := s.pipe()
		half.Write([]byte{0, 1})
		if got := closedAfter(half); got != frameTimeout {
			t.Errorf("half a header: %v", got)
		}
		slow := s.pipe()
		go func() {
			for _, b := range append([]byte{0, 3, 0x04, 0}, make([]byte, 1024)...) {
				if _, err := slow.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if got := closedAfter(slow); got > frameTimeout+4*time.Second {
			t.Errorf("a byte a second: %v", got)
		}
		time.Sleep(2 * time.Second) // until the writers have noticed
	})
}

// A frame longer than any packet ends its connection immediately: it is not buffered.
func TestLongFrames(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		for _, begin := range [][]byte{{0, 1, 0xFF, 0xFC}, {0x40, 0, 0xFF, 0xFF}, {0, 1, 0, 3}, []byte("GET "), {0x50, 0, 0, 4}, {0xFF, 0xFF, 0xFF, 0xFF}} {
			c := s.pipe()
			c.Write(begin)
			if got := closedAfter(c); got != 0 {
				t.Errorf("%x: closed after %v", begin, got)
			}
		}
	})
}

// A client may be silent while it receives, but not longer than it may go without a
// refresh. A client that receives nothing loses its allocation and then its connection.
func TestSilentClients(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		hears := s.speaker(s.pipe(), s.keys.Mint("alice", time.Now()))
		port := hears.allocate()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Minute):
					if a := s.relays.find(netip.AddrPortFrom(virtual, uint16(port))); a != nil {
						a.passed(1)
					}
				}
			}
		}()
		if code, _ := hears.ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0x0E, 0x0F)); code != 0 { // an hour
			t.Fatal(code)
		}
		if got := closedAfter(hears.conn); got != silence {
			t.Errorf("a receiving client is disconnected after %v", got)
		}
		close(stop)
		deaf := s.speaker(s.pipe(), s.keys.Mint("alice", time.Now()))
		deaf.allocate()
		if got := closedAfter(deaf.conn); got != idle+strangerTimeout {
			t.Errorf("an idle client is disconnected after %v", got)
		}
	})
}

// A connection whose allocation has ended has half a minute again, whatever it sends,
// unless it creates another one.
func TestConnectionsEndAfterTheirAllocation(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		p := s.speaker(s.pipe(), s.keys.Mint("alice", time.Now()))
		for range 3 {
			p.allocate()
			time.Sleep(time.Minute)
			if code, _ := p.ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
				t.Fatalf("a refresh: %d", code)
			}
		}
		if got := closedAfter(p.conn); got != strangerTimeout {
			t.Errorf("closed after %v", got)
		}
		p = s.speaker(s.pipe(), s.keys.Mint("bob", time.Now()))
		p.allocate()
		begun := time.Now()
		for range 100 { // it sends Binding requests and relays nothing
			time.Sleep(20 * time.Second)
			request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
			if err != nil {
				t.Fatal(err)
			}
			if p.exchange(request) == nil {
				break
			}
		}
		if got := time.Since(begun); got > idle+strangerTimeout+time.Minute {
			t.Errorf("a connection without packets lasted %v", got)
		}
	})
}

// The connections of one address are bounded.
func TestConnectionsOfAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		var all []net.Conn
		for range 2 * maxOfAddress {
			all = append(all, s.pipe())
		}
		if got := closedAfter(s.pipe()); got != 0 {
			t.Errorf("one too many: closed after %v", got)
		}
		all[0].Close()
		synctest.Wait()
		s.speaker(s.pipe(), s.keys.Mint("alice", time.Now())).allocate()
		for _, c := range all {
			c.Close()
		}
	})
}

// A client that does not read is disconnected, and its allocation ends.
func TestClientsThatDoNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		p := s.speaker(s.pipe(), s.keys.Mint("alice", time.Now()))
		p.allocate()
		request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		p.conn.SetWriteDeadline(time.Time{})
		for err == nil { // the response to the first is never read
			_, err = p.conn.Write(request.Raw)
		}
		if got := time.Since(begun); got != writeTimeout {
			t.Errorf("closed after %v", got)
		}
		synctest.Wait()
		if n := s.Figures.Allocations.Load(); n != 0 {
			t.Errorf("%d allocations are left", n)
		}
	})
}

// take allocates a port of the switch, as pion does.
func (s *service) take(user string) *port {
	s.Helper()
	c, _, err := s.relays.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4", UserID: user})
	if err != nil {
		s.Fatal(err)
	}
	s.taken = append(s.taken, c.(*port))
	return c.(*port)
}

// An allocation without packets ends, however often it is refreshed. Packets without a
// receiver do not count.
func TestIdleAllocationsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		lonely, a, b := s.take("alice"), s.take("bob"), s.take("carol")
		a.WriteTo([]byte("check"), b.addr)
		b.WriteTo([]byte("check"), a.addr)
		var ended [3]atomic.Int64 // time of the end
		begun := time.Now()
		for i, p := range []*port{lonely, a, b} {
			go func() {
				for {
					if _, _, err := p.ReadFrom(make([]byte, 1600)); err != nil {
						ended[i].Store(int64(time.Since(begun)))
						p.Close()
						return
					}
				}
			}()
		}
		for range 60 { // an hour
			time.Sleep(time.Minute)
			lonely.WriteTo([]byte("hello?"), &net.UDPAddr{IP: virtual.AsSlice(), Port: firstPort})
			a.WriteTo([]byte("hello"), b.addr)
		}
		if lonely, busy := ended[0].Load(), ended[1].Load()+ended[2].Load(); lonely != int64(idle) || busy != 0 {
			t.Errorf("idle and busy allocations ended after %v and %v", time.Duration(lonely), time.Duration(busy))
		}
		time.Sleep(2 * idle)
		synctest.Wait()
		if ended[1].Load() == 0 || ended[2].Load() == 0 || s.Figures.EndedIdle.Load() != 3 {
			t.Errorf("%d of 3 have ended", s.Figures.EndedIdle.Load())
		}
	})
}

// Credentials that expire during a call keep its allocation alive, and so do new ones of
// the same inbox. Those of another inbox do not, and expired ones cannot create an
// allocation.
func TestCredentialsExpireDuringACall(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		old := s.keys.Mint("alice", time.Now().Add(time.Minute-turncred.Lifetime))
		p := s.speaker(s.pipe(), old)
		p.allocate()
		time.Sleep(2 * time.Minute)
		if code, _ := p.ask(stun.MethodRefresh); code != 0 {
			t.Errorf("a refresh with expired credentials: %d", code)
		}
		renewed := s.keys.Mint("alice", time.Now())
		p.username, p.password = renewed.Username, renewed.Password
		if code, _ := p.ask(stun.MethodRefresh); code != 0 {
			t.Errorf("a refresh with renewed credentials: %d", code)
		}
		other := s.keys.Mint("bob", time.Now())
		p.username, p.password = other.Username, other.Password
		if code, _ := p.ask(stun.MethodRefresh); code != -1 {
			t.Errorf("a refresh with another inbox's credentials: %d", code)
		}
		if code, _ := s.speaker(s.pipe(), old).ask(stun.MethodAllocate, udp); code != 401 {
			t.Errorf("an allocation with expired credentials: %d", code)
		}
	})
}

// An inbox relays at its rate, and all inboxes together at the total rate. Ending
// allocations does not reset a rate.
func TestRates(t *testing.T) {
	const rate, total = 100_000, 150_000
	bubble(t, func(t *testing.T, s *service) {
		pairs := [2][2]*port{{s.take("alice"), s.take("bob")}, {s.take("carol"), s.take("dave")}}
		for _, p := range pairs {
			p[0].WriteTo(make([]byte, 1), p[1].addr)
			p[1].WriteTo(make([]byte, 1), p[0].addr)
			go func() {
				for {
					if _, _, err := p[1].ReadFrom(make([]byte, 1600)); err != nil {
						return
					}
				}
			}()
		}
		flood := func(seconds int, pairs ...[2]*port) int64 {
			before := s.Figures.Bytes.Load()
			for range seconds * 1000 {
				for _, p := range pairs {
					p[0].WriteTo(make([]byte, 1000), p[1].addr)
				}
				synctest.Wait()
				time.Sleep(time.Millisecond)
			}
			return s.Figures.Bytes.Load() - before
		}
		near := func(what string, got int64, seconds, rate float64) {
			t.Helper()
			if most := rate*seconds + rate/2 + minBurst; float64(got) > most || float64(got) < 0.9*rate*seconds {
				t.Errorf("%s: %d bytes in %v s, want %v a second", what, got, seconds, rate)
			}
		}
		near("one inbox", flood(20, pairs[0]), 20, rate)
		near("two inboxes", flood(20, pairs[0], pairs[1]), 20, total)
		if s.Figures.DroppedRate.Load() == 0 || s.Figures.DroppedTotal.Load() == 0 {
			t.Error("dropped packets are not counted")
		}
		pairs[0][0].Close()
		next := s.take("alice")
		pairs[0][1].WriteTo(make([]byte, 1), next.addr)
		before := s.Figures.Bytes.Load()
		for range 200 {
			next.WriteTo(make([]byte, 1000), pairs[0][1].addr)
		}
		if got := s.Figures.Bytes.Load() - before; got > 5000 {
			t.Errorf("a new allocation got a new burst: %d bytes", got)
		}
		next.Close()
		pairs[0][1].Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		s.users.mu.Lock()
		defer s.users.mu.Unlock()
		if n := s.users.byUser.Len(); n != 2 {
			t.Errorf("%d accounts are left of 2", n)
		}
	}, func(c *Config) { c.Rate, c.RateTotal = rate, total })
}

// A slow client costs no more than its queue, and many of them do not affect other
// clients.
func TestQueuesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		a := s.take("alice")
		var slow []*port
		for i := range maxQueued/maxQueue + 2 {
			p := s.take(string(rune('b' + i)))
			p.WriteTo([]byte("check"), a.addr)
			slow = append(slow, p)
		}
		for _, p := range slow {
			for range 2 * maxQueue {
				a.WriteTo(make([]byte, 1200), p.addr)
			}
			if p.count > maxQueue {
				t.Fatalf("%d packets wait for one client", p.count)
			}
		}
		w := s.relays.(*Switch)
		if n := w.queued.Load(); n > maxQueued+int64(len(slow)*minQueued) || n < maxQueued {
			t.Errorf("%d packets wait, want at most %d", n, maxQueued)
		}
		if n := slow[len(slow)-1].count; n != minQueued {
			t.Errorf("the last client has %d packets, want %d", n, minQueued)
		}
		for _, p := range slow {
			p.Close()
		}
		if n := w.queued.Load(); n != 0 {
			t.Errorf("%d packets are left", n)
		}
	})
}

// An allocation remembers the latest peers, up to a bound.
func TestPeersAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		a := s.take("alice")
		for id := range uint32(10 * maxPeers) {
			a.learn(id + 100)
		}
		if n := len(*a.known.Load()); n != maxPeers {
			t.Errorf("it remembers %d peers", n)
		}
		if !a.knows(100+10*maxPeers-1) || a.knows(100) {
			t.Error("it does not remember the latest peers")
		}
	})
}

// A reused port does not inherit the peers of its previous allocation.
func TestReusedPorts(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		a, b := s.take("alice"), s.take("bob")
		b.WriteTo([]byte("check"), a.addr)
		w := s.relays.(*Switch)
		c := &port{allocation: a.allocation, w: w, id: w.ids.Add(1), addr: a.addr}
		w.ports[a.addr.Port-firstPort].Store(c) // as if a had ended
		before := s.Figures.DroppedPeer.Load()
		c.WriteTo([]byte("spray"), b.addr)
		if s.Figures.DroppedPeer.Load() != before+1 {
			t.Error("the next owner of a port is mistaken for the previous one")
		}
		w.ports[a.addr.Port-firstPort].Store(a)
	})
}

// UDP is bound per address, follows changes of the machine's addresses, and reports a
// taken port.
func TestListenUDP(t *testing.T) {
	s := start(t)
	two, three := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	port, err := s.ListenUDP(two, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := start(t).ListenUDP(two, port); err == nil {
		t.Error("a taken port was bound")
	}
	s.everywhere = port
	answers := func(a netip.Addr) bool {
		conn, err := net.Dial("udp4", netip.AddrPortFrom(a, port).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err != nil {
			t.Fatal(err)
		}
		return (&speaker{TB: t, conn: conn}).exchange(request) != nil
	}
	if !answers(two) || answers(three) {
		t.Error("the server listens on other addresses")
	}
	s.follow([]netip.Addr{three})
	if answers(two) || !answers(three) {
		t.Error("the server does not follow the addresses")
	}
}
