package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// relayURL is the relay in a response of /ice.
type relayURL struct {
	URLs                 []string
	Username, Credential string
}

// ice returns the relay that a server offers.
func ice(t *testing.T, c *http.Client, url, id string) (relay relayURL, all []string) {
	t.Helper()
	res, body := get(t, c, url+"/ice", id, "password")
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, body)
	}
	var answer struct{ ICEServers []relayURL }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	for _, s := range answer.ICEServers {
		all = append(all, s.URLs...)
		if s.Username != "" {
			relay = s
		}
	}
	return relay, all
}

// quiet discards a client's log.
type quiet struct{}

func (quiet) NewLogger(scope string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope(scope, logging.LogLevelDisabled, os.Stderr)
}

// allocate creates an allocation at the first UDP URL, or over conn.
func (r relayURL) allocate(t *testing.T, conn net.Conn) net.PacketConn {
	t.Helper()
	c := turn.ClientConfig{Username: r.Username, Password: r.Credential, Realm: "inbox", LoggerFactory: quiet{}, RTO: time.Second}
	if conn != nil {
		c.Conn, c.TURNServerAddr = turn.NewSTUNConn(conn), "127.0.0.1:1"
	} else {
		host, _, _ := strings.Cut(strings.TrimPrefix(r.URLs[0], "turn:"), "?")
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.Conn, c.TURNServerAddr = udp, host
	}
	client, err := turn.NewClient(&c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); c.Conn.Close() })
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relayed.Close() })
	return relayed
}

// reach reports whether two allocations receive each other's packets.
func reach(a, b net.PacketConn, within time.Duration) bool {
	heard := map[net.PacketConn]bool{}
	for late := time.Now().Add(within); len(heard) < 2 && time.Now().Before(late); {
		a.WriteTo([]byte("check"), b.LocalAddr())
		b.WriteTo([]byte("check"), a.LocalAddr())
		for _, c := range []net.PacketConn{a, b} {
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, _, err := c.ReadFrom(make([]byte, 100)); err == nil {
				heard[c] = true
			}
		}
	}
	return len(heard) == 2
}

// The relay is on by default. Clients reach it over UDP, TCP, and TLS on the HTTPS port,
// which still serves requests.
func TestRelayByDefault(t *testing.T) {
	certificate := inboxtest.NewCertificate(t, "test")
	cert, key := certificate.Files(t)
	r := serve(t, "--tls=files", "--tls-cert="+cert, "--tls-key="+key)
	defer r.end(t)
	said := r.log.await(t, `the relay for calls listens on ([^"]+)`)
	if !strings.HasPrefix(said, "UDP and TCP port ") || !strings.HasSuffix(said, ", and on the HTTPS port") {
		t.Error(said)
	}
	config := &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	relay, _ := ice(t, &http.Client{Transport: transport}, r.url, "alice")
	first := relay.allocate(t, nil)

	address := strings.TrimPrefix(r.url, "https://")
	for name, protocols := range map[string][]string{"no protocol named": nil, "stun.turn": {"stun.turn"}} {
		c := config.Clone()
		c.NextProtos = protocols
		conn, err := tls.Dial("tcp", address, c)
		if err != nil {
			t.Fatal(err)
		}
		if !reach(first, relay.allocate(t, conn), 20*time.Second) {
			t.Errorf("%s: the two do not reach each other", name)
		}
	}
	for _, protocols := range [][]string{nil, {"http/1.1"}, {"stun.turn", "http/1.1"}, {"h2", "stun.turn"}} {
		c := config.Clone()
		c.NextProtos = protocols
		plain := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: len(protocols) > 0 && protocols[0] == "h2"}
		if res, body := get(t, &http.Client{Transport: plain}, r.url+"/healthz", "", ""); body != "ok\n" {
			t.Errorf("%v: %s %q", protocols, res.Status, body)
		}
		plain.CloseIdleConnections()
	}
	tcp, err := net.Dial("tcp", "127.0.0.1:"+said[len("UDP and TCP port "):strings.Index(said, ",")])
	if err != nil {
		t.Fatal(err)
	}
	if !reach(first, relay.allocate(t, tcp), 20*time.Second) {
		t.Error("TCP: the two do not reach each other")
	}
}

// If the relay's port is taken, the server starts, reports it in one line, and lists only
// what is available.
func TestRelayPortInUse(t *testing.T) {
	// Outgoing connections do not use ports of this range.
	var udp net.PacketConn
	port := 0
	for udp == nil {
		port = 20000 + rand.IntN(10000)
		if ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ln.Close()
			udp, _ = net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		}
	}
	defer udp.Close()
	r := serve(t, fmt.Sprintf("--turn-listen=127.0.0.1:%d", port))
	said := r.log.await(t, `msg="(--turn-listen [^"]+)"`)
	if want := fmt.Sprintf("--turn-listen 127.0.0.1:%d: UDP: the port is taken; the relay for calls listens on TCP port %d", port, port); said != want {
		t.Errorf("got %q, want %q", said, want)
	}
	if _, all := ice(t, http.DefaultClient, r.url, "alice"); len(all) != 1 || !strings.HasSuffix(all[0], "?transport=tcp") {
		t.Errorf("/ice names %q", all)
	}
	second := serve(t, fmt.Sprintf("--turn-listen=127.0.0.1:%d", port))
	said = second.log.await(t, `msg="(--turn-listen [^"]+)"`)
	if want := fmt.Sprintf("--turn-listen 127.0.0.1:%d: the port is taken; calls that need a relay will fail", port); said != want {
		t.Errorf("got %q, want %q", said, want)
	}
	if _, all := ice(t, http.DefaultClient, second.url, "alice"); len(all) != 0 {
		t.Errorf("/ice names %q", all)
	}
	off := serve(t, "--turn=off")
	if _, all := ice(t, http.DefaultClient, off.url, "alice"); len(all) != 0 || strings.Contains(off.log.String(), "relay") {
		t.Errorf("/ice names %q, the log is\n%s", all, off.log)
	}
	for _, r := range []*running{r, second, off} {
		r.end(t)
	}
}

// Clients of two servers that share a Redis meet at the relay that both servers list.
func TestServersShareOneRelay(t *testing.T) {
	redis := redistest.Start(t)
	flags := ofRedis(t, "redis://"+redis.Addr)
	one := serve(t, append(flags, "--turn-listen=127.0.0.1:0", "--turn-host=127.0.0.1")...)
	port := one.log.await(t, `UDP and TCP port (\d+)`)
	two := serve(t, append(flags, "--turn-listen=127.0.0.2:"+port, "--turn-host=127.0.0.1")...)
	alice, _ := ice(t, http.DefaultClient, one.url, "alice")
	bob, _ := ice(t, http.DefaultClient, two.url, "bob")
	if alice.URLs[0] != bob.URLs[0] {
		t.Errorf("one server names %q, the other %q", alice.URLs, bob.URLs)
	}
	if !reach(alice.allocate(t, nil), bob.allocate(t, nil), 20*time.Second) {
		t.Error("the two do not reach each other")
	}
	if log := one.log.String() + two.log.String(); strings.Contains(log, `WARN msg="the relay`) {
		t.Error(log)
	}
	one.end(t)
	two.end(t)
}

// Without a common relay, clients of two servers only meet if both relays are open, and
// the log says so.
func TestServersWithSeparateRelays(t *testing.T) {
	redis := redistest.Start(t)
	flags := ofRedis(t, "redis://"+redis.Addr)
	each := func(mode string, within time.Duration) bool {
		t.Helper()
		var relayed []net.PacketConn
		var servers []*running
		for i, id := range []string{"alice", "bob"} {
			address := fmt.Sprintf("127.0.0.%d", 2+i) // the machine only has 127.0.0.1
			own := append(flags, "--turn="+mode, "--turn-listen="+address+":0", "--turn-host="+address)
			if mode == "open" {
				own = append(own, "--turn-ip="+address, "--turn-ports=43000-43099", "--turn-allow=127.0.0.0/8")
			}
			r := serve(t, own...)
			relay, _ := ice(t, http.DefaultClient, r.url, id)
			relayed, servers = append(relayed, relay.allocate(t, nil)), append(servers, r)
		}
		defer func() {
			for _, r := range servers {
				r.end(t)
			}
		}()
		return reach(relayed[0], relayed[1], within)
	}
	if !each("open", 20*time.Second) {
		t.Error("clients of two open relays do not reach each other")
	}
	if each("closed", 300*time.Millisecond) {
		t.Error("clients of two closed relays reach each other")
	}
	r := serve(t, flags...)
	r.log.await(t, `level=WARN msg="the relay only connects clients of the same server`)
	r.end(t)
}

// The log contains no user name of a client.
func TestRelayLogsNoIdentities(t *testing.T) {
	r := serve(t, "--log-level="+strings.ToLower(slog.LevelDebug.String()))
	relay, _ := ice(t, http.DefaultClient, r.url, "alice")
	c := relay.allocate(t, nil)
	c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 9, 8, 7), Port: 6})
	r.end(t)
	_, hash, _ := strings.Cut(relay.Username, ":")
	for _, secret := range []string{hash, relay.Credential, "10.9.8.7", c.LocalAddr().String()} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, r.log)
		}
	}
}
