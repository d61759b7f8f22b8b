package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"inbox/internal/clientaddr"
	"inbox/internal/inboxtest"
	"inbox/internal/meter"
)

// echo is a server that answers each request with the client's address.
type echo struct {
	testing.TB
	*Server
	refusals *meter.Refusals
	tcp, at  net.Addr // addresses of the TCP and the Unix listener
	client   *tls.Config
}

func startEcho(tb testing.TB, c Config) *echo {
	s := &echo{TB: tb, refusals: meter.NewRefusals(false)}
	c.MaxWait, c.Log, c.Refusals = time.Minute, slog.New(slog.DiscardHandler), s.refusals
	if c.TLS != nil {
		certificate := inboxtest.NewCertificate(tb, "test")
		c.TLS.Certificates = []tls.Certificate{certificate.Pair}
		s.client = &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	}
	s.Server = New(c)
	tcp := inboxtest.Loopback(tb)
	local, err := net.Listen("unix", filepath.Join(tb.TempDir(), "socket"))
	if err != nil {
		tb.Fatal(err)
	}
	s.tcp, s.at = tcp.Addr(), local.Addr()
	if err := s.Listen(tcp, local); err != nil {
		tb.Fatal(err)
	}
	s.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		s.Close()
		serving.Wait()
		if err := s.Wait(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// dial connects from an address on loopback, or to the Unix socket if from is "unix".
func (s *echo) dial(from string) net.Conn {
	s.Helper()
	to, dialer := s.tcp, net.Dialer{}
	if from == "unix" {
		to = s.at
	} else {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := dialer.Dial(to.Network(), to.String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// ask sends a request and returns the answer's body, or "" if the server has refused the
// connection.
func ask(c net.Conn, headers ...string) string {
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", strings.Join(append(headers, ""), "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// counted checks that exactly these refusals were counted.
func (s *echo) counted(name string, before, want map[meter.Reason]uint64) {
	s.Helper()
	for _, why := range meter.Reasons() {
		if got := s.refusals.Count(why) - before[why]; got != want[why] {
			s.Errorf("%s: %v was counted %d times, want %d", name, why, got, want[why])
		}
	}
}

func (s *echo) counts() map[meter.Reason]uint64 {
	all := make(map[meter.Reason]uint64)
	for _, why := range meter.Reasons() {
		all[why] = s.refusals.Count(why)
	}
	return all
}

func TestForwardedAddress(t *testing.T) {
	s := startEcho(t, Config{Proxies: trusting(t, "127.0.0.2", "127.0.1.0/24")})
	for _, c := range []struct {
		name, from string
		headers    []string
		want       string // "" for the peer
		why        meter.Reason
	}{
		{name: "no header", from: "127.0.0.2"},
		{name: "a header from a proxy", from: "127.0.0.2", headers: []string{"X-Forwarded-For: 192.0.2.7"}, want: "192.0.2.7:0"},
		{name: "a header for IPv6", from: "127.0.0.2", headers: []string{"x-forwarded-for: [2001:db8::7]:99"}, want: "[2001:db8::7]:0"},
		{name: "several headers", from: "127.0.1.9", headers: []string{"X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 192.0.2.7, 127.0.1.8"}, want: "192.0.2.7:0"},
		{name: "the other header", from: "127.0.0.2", headers: []string{"Forwarded: for=192.0.2.7", "X-Real-IP: 192.0.2.8"}},
		{name: "nonsense", from: "127.0.0.2", headers: []string{"X-Forwarded-For: nonsense"}, why: meter.InvalidHeader},
		{name: "an invalid address behind a proxy", from: "127.0.0.2", headers: []string{"X-Forwarded-For: nonsense, 127.0.1.8"}, want: "127.0.1.8:0", why: meter.InvalidHeader},
		{name: "a header from a client", from: "127.0.0.3", headers: []string{"X-Forwarded-For: 192.0.2.7"}, why: meter.UntrustedHeader},
		{name: "a header from an untrusted socket", from: "unix", headers: []string{"X-Forwarded-For: 192.0.2.7"}, want: "127.0.0.1:0", why: meter.UntrustedHeader},
		{name: "a client on a socket", from: "unix", want: "127.0.0.1:0"},
		{name: "a header that Connection lists", from: "127.0.0.2", headers: []string{"Connection: X-Forwarded-For", "X-Forwarded-For: 192.0.2.7"}, want: "192.0.2.7:0"},
	} {
		conn, before := s.dial(c.from), s.counts()
		want := c.want
		if want == "" {
			want = conn.LocalAddr().String()
		}
		for range 2 { // a connection has several requests
			if got := ask(conn, c.headers...); got != want {
				t.Errorf("%s: the client is %q, want %q", c.name, got, want)
			}
		}
		counted := map[meter.Reason]uint64{}
		if c.why != 0 {
			counted[c.why] = 2
		}
		s.counted(c.name, before, counted)
	}
}

// The configured header also works over HTTP/2 and from a trusted Unix socket.
func TestForwardedAddressOverHTTP2(t *testing.T) {
	proxies := trusting(t, "unix")
	proxies.Header = clientaddr.Forwarded
	s := startEcho(t, Config{Proxies: proxies})
	transport := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return s.dial("unix"), nil },
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for header, want := range map[string]string{`for="[2001:db8::7]"`: "[2001:db8::7]:0", "for=192.0.2.7": "192.0.2.7:0", "for=unknown": "127.0.0.1:0"} {
		req, _ := http.NewRequest(http.MethodGet, "http://inbox/", nil)
		req.Header.Set("Forwarded", header)
		req.Header.Set("X-Forwarded-For", "198.51.100.1")
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || string(body) != want {
			t.Errorf("%s, %s: the client is %s, want %s", res.Proto, header, body, want)
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	format := func(h *proxyproto.Header) string {
		b, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	of := func(ip string) string { return format(header(&net.TCPAddr{IP: net.ParseIP(ip), Port: 4711})) }
	v6 := format(proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 443}))
	long := header(v4)
	if err := long.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_NOOP, Value: bytes.Repeat([]byte{1}, 3000)}}); err != nil {
		t.Fatal(err)
	}
	changed := func(at int, to ...byte) string {
		b := []byte(format(header(v4)))
		copy(b[at:], to)
		return string(b)
	}
	const peer, refused = "peer", ""
	for _, c := range []struct {
		name, from, begin string
		headers           []string
		want              string
		why               meter.Reason
	}{
		{name: "IPv4", from: "127.0.0.2", begin: format(header(v4)), want: "192.0.2.7:4711"},
		{name: "IPv6", from: "127.0.0.2", begin: v6, want: "[2001:db8::7]:4711"},
		{name: "a trusted socket", from: "unix", begin: format(header(v4)), want: "192.0.2.7:4711"},
		{name: "a long header", from: "127.0.0.2", begin: format(long), want: "192.0.2.7:4711"},
		{name: "a request of the proxy", from: "127.0.0.2", begin: format(&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}), want: peer},
		{name: "LOCAL with an address", from: "127.0.0.2", begin: changed(commandAt, byte(proxyproto.LOCAL)), want: peer},
		{name: "a client unknown to the proxy", from: "127.0.0.2", begin: changed(familyAt, byte(proxyproto.UNSPEC)), want: peer},
		{name: "a client on a socket of the proxy", from: "127.0.0.2", begin: format(proxyproto.HeaderProxyFromAddrs(2, &net.UnixAddr{Name: "/a", Net: "unix"}, &net.UnixAddr{Name: "/b", Net: "unix"})), want: peer},
		// The client of one trusted proxy is another proxy, which names its client in the
		// header.
		{name: "a proxy behind a proxy", from: "127.0.0.2", begin: of("198.51.100.9"), headers: []string{"X-Forwarded-For: 192.0.2.8"}, want: "192.0.2.8:0"},
		{name: "a header from its client", from: "127.0.0.2", begin: format(header(v4)), headers: []string{"X-Forwarded-For: 192.0.2.8"}, want: "192.0.2.7:4711", why: meter.UntrustedHeader},
		{name: "no proxy", from: "127.0.0.3", want: peer},
		// False or malformed headers.
		{name: "a client", from: "127.0.0.3", begin: format(header(v4)), want: refused, why: meter.UntrustedProtocol},
		{name: "nothing", from: "127.0.0.2", want: refused, why: meter.InvalidProtocol},
		{name: "version 1", from: "127.0.0.2", begin: "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", want: refused, why: meter.InvalidProtocol},
		{name: "version 3", from: "127.0.0.2", begin: changed(commandAt, 0x31), want: refused, why: meter.InvalidProtocol},
		{name: "an invalid command", from: "127.0.0.2", begin: changed(commandAt, 0x2f), want: refused, why: meter.InvalidProtocol},
		{name: "an invalid family", from: "127.0.0.2", begin: changed(familyAt, 0x13), want: refused, why: meter.InvalidProtocol},
		{name: "IPv6 in the place of IPv4", from: "127.0.0.2", begin: changed(familyAt, byte(proxyproto.TCPv6)), want: refused, why: meter.InvalidProtocol},
		{name: "too short for an address", from: "127.0.0.2", begin: changed(lengthAt, 0, 11), want: refused, why: meter.InvalidProtocol},
		{name: "too long", from: "127.0.0.2", begin: changed(lengthAt, 0xff, 0xff), want: refused, why: meter.InvalidProtocol},
		{name: "UDP", from: "127.0.0.2", begin: changed(familyAt, byte(proxyproto.UDPv4)), want: peer, why: meter.InvalidSource},
		{name: "nobody", from: "127.0.0.2", begin: of("0.0.0.0"), want: peer, why: meter.InvalidSource},
		{name: "multicast", from: "127.0.0.2", begin: of("224.0.0.1"), want: peer, why: meter.InvalidSource},
	} {
		for _, secure := range []bool{false, true} {
			name := fmt.Sprintf("%s, TLS %v", c.name, secure)
			proxies := trusting(t, "127.0.0.2", "unix", "198.51.100.9")
			proxies.Protocol = true
			config := Config{Proxies: proxies}
			if secure {
				config.TLS = new(tls.Config)
			}
			s := startEcho(t, config)
			conn, want := s.dial(c.from), c.want
			if want == peer {
				want = conn.LocalAddr().String()
			}
			if _, err := io.WriteString(conn, c.begin); err != nil {
				t.Fatal(err)
			}
			if secure {
				conn = tls.Client(conn, s.client)
			}
			if got := ask(conn, c.headers...); got != want {
				t.Errorf("%s: the client is %q, want %q", name, got, want)
			}
			counted := map[meter.Reason]uint64{}
			if c.why != 0 {
				counted[c.why] = 1
			}
			s.counted(name, nil, counted)
		}
	}
}

// Without --proxy-protocol the PROXY protocol is not accepted, and every address is the
// peer's.
func TestProxyProtocolIsOff(t *testing.T) {
	s := startEcho(t, Config{Proxies: trusting(t, "127.0.0.2")})
	for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
		conn := s.dial(from)
		header(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}).WriteTo(conn)
		if got := ask(conn); got != "" {
			t.Errorf("from %s: the client is %s", from, got)
		}
	}
}

// The header may arrive in parts, and the server's end does not wait for the rest.
func TestProxyProtocolInParts(t *testing.T) {
	proxies := trusting(t, "127.0.0.2")
	proxies.Protocol = true
	s := startEcho(t, Config{Proxies: proxies})
	all, _ := header(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}).Format()
	for _, n := range []int{1, 12, 16, len(all) - 1} {
		conn := s.dial("127.0.0.2")
		for part := all; len(part) > 0; {
			m := min(n, len(part))
			conn.Write(part[:m])
			part = part[m:]
			time.Sleep(time.Millisecond) // so that the kernel sends the parts one by one
		}
		if got := ask(conn); got != "192.0.2.7:4711" {
			t.Errorf("in parts of %d bytes: the client is %q", n, got)
		}
	}
	waits := s.dial("127.0.0.2")
	waits.Write(all[:20])
	inboxtest.Until(t, "the server waits for the rest", func() bool {
		s.listener.arrivals.mu.Lock()
		defer s.listener.arrivals.mu.Unlock()
		return len(s.listener.arrivals.conns) == 1
	})
	s.Close()
	if _, err := waits.Read(make([]byte, 1)); err == nil {
		t.Error("a connection with an incomplete header outlived the server")
	}
}
