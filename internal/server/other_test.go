package server

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// Another protocol on the port gets the connections that name it in ALPN, and those
// without ALPN whose first byte matches. All others are HTTP. Both see the same client
// address.
func TestOther(t *testing.T) {
	served := make(chan string, 1)
	proxies := trusting(t, "127.0.0.2")
	proxies.Protocol = true
	s := startEcho(t, Config{TLS: new(tls.Config), Proxies: proxies, Other: &Other{
		ALPN:   []string{"stun.turn"},
		Begins: func(first byte) bool { return first < 4 },
		Serve: func(conn net.Conn) {
			defer conn.Close()
			text, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				text = err.Error()
			}
			io.WriteString(conn, text)
			served <- conn.RemoteAddr().String() + " " + text
		},
	}})
	for _, c := range []struct {
		name, from, begin string
		alpn              []string
		other             bool
	}{
		{"named in ALPN", "127.0.0.3", "A\n", []string{"stun.turn"}, true},
		{"no ALPN, matching first byte", "127.0.0.3", "\x00 rest\n", nil, true},
		{"behind a proxy", "127.0.0.2", "\x01 rest\n", nil, true},
		{"no ALPN, HTTP", "127.0.0.3", "", nil, false},
		{"HTTP behind a proxy", "127.0.0.2", "", nil, false},
		{"HTTP in ALPN", "127.0.0.3", "", []string{"http/1.1"}, false},
		{"both in ALPN", "127.0.0.3", "", []string{"stun.turn", "http/1.1"}, false},
	} {
		conn := s.dial(c.from)
		want := conn.LocalAddr().String()
		if c.from == "127.0.0.2" {
			want = "192.0.2.7:4711"
			header(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}).WriteTo(conn)
		}
		config := s.client.Clone()
		config.NextProtos = c.alpn
		client := tls.Client(conn, config)
		client.SetDeadline(time.Now().Add(time.Minute))
		if !c.other {
			if got := ask(client); got != want {
				t.Errorf("%s: the client is %q, want %q", c.name, got, want)
			}
			continue
		}
		if _, err := io.WriteString(client, c.begin); err != nil {
			t.Fatal(err)
		}
		if got := <-served; got != want+" "+c.begin {
			t.Errorf("%s: got %q, want %q", c.name, got, want+" "+c.begin)
		}
		if echoed, err := io.ReadAll(client); err != nil || string(echoed) != c.begin {
			t.Errorf("%s: the answer is %q, %v", c.name, echoed, err)
		}
	}
}
