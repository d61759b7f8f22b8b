package check_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/pion/turn/v5"

	"inbox"
	"inbox/inboxhttp"
	"inbox/internal/check"
	"inbox/internal/inboxtest"
	"inbox/internal/relay"
	"inbox/internal/turncred"
	"inbox/memstore"
)

// world is a server, the relay that it lists, and a proxy that a test may break.
type world struct {
	urls   func(udp, tcp string) []string       // URLs listed by /ice, given the relay's addresses
	secret *turncred.Authority                  // issues credentials; by default the relay's own
	relay  func(t *testing.T) (udp, tcp string) // starts a relay and returns its addresses; by default ours
	front  func(http.Handler) http.Handler      // wraps the server
	tls    *tls.Config
	extra  map[string]string // pages that should not be public
}

var credentials = turncred.FromPepper([32]byte{1})

func both(udp, tcp string) []string {
	return []string{"stun:" + udp, "turn:" + udp + "?transport=udp", "turn:" + tcp + "?transport=tcp"}
}

func (w world) start(t *testing.T) (base string) {
	t.Helper()
	if w.relay == nil {
		w.relay = closedRelay
	}
	udpAddress, tcpAddress := w.relay(t)
	if w.urls == nil {
		w.urls = both
	}
	if w.secret == nil {
		w.secret = credentials
	}
	h, err := inboxhttp.New(inboxhttp.Config{
		Store: memstore.New(inbox.Limits{}), Authenticator: inbox.NewPepper([inbox.PepperSize]byte{}),
		ICEServers: func(_ *http.Request, id string) []inboxhttp.ICEServer {
			all := w.urls(udpAddress, tcpAddress)
			if len(all) == 0 {
				return nil
			}
			c := w.secret.Mint(id, time.Now())
			return []inboxhttp.ICEServer{{URLs: all, Username: c.Username, Credential: c.Password}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/base/inbox", h)
	mux.HandleFunc("/base/ice", h.ServeICE)
	mux.HandleFunc("/base/readyz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	for path, text := range w.extra {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	var handler http.Handler = mux
	if w.front != nil {
		handler = w.front(handler)
	}
	s := httptest.NewUnstartedServer(handler)
	if s.TLS = w.tls; s.TLS != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.URL + "/base/"
}

func closedRelay(t *testing.T) (udp, tcp string) {
	t.Helper()
	r, err := relay.New(relay.Config{Credentials: credentials, Log: slog.New(slog.DiscardHandler), Address: netip.MustParseAddr("198.51.100.1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	port, err := r.ListenUDP(netip.MustParseAddr("127.0.0.1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(ln); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port), ln.Addr().String()
}

// run checks a server and returns the results by name.
func run(t *testing.T, c check.Config) map[string]check.Result {
	t.Helper()
	all := make(map[string]check.Result)
	err := check.Run(t.Context(), c, func(r check.Result) {
		t.Logf("%+v", r)
		for _, text := range []string{r.Detail, r.Advice} {
			if strings.Contains(text, "check-") {
				t.Errorf("%q contains an id", text)
			}
		}
		all[r.Check] = r
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

func TestEverythingWorks(t *testing.T) {
	got := run(t, check.Config{URL: world{}.start(t)})
	for _, name := range []string{
		"name", "server", "poll", "long poll", "stream", "socket", "ICE servers", "STUN", "TURN over UDP", "TURN over TCP",
		"relay", "closed relay", "private pages",
	} {
		if got[name].State != check.OK {
			t.Errorf("%s: %+v", name, got[name])
		}
	}
}

// Each fault is detected by its check, and by no other.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		world
		want map[string]check.State // other than ok
		says string                 // part of the detail or advice
	}{
		"a proxy that buffers streams": {
			world: world{front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Accept") != "text/event-stream" {
						h.ServeHTTP(w, r)
						return
					}
					ctx, cancel := context.WithTimeout(r.Context(), time.Second)
					defer cancel()
					held := httptest.NewRecorder()
					h.ServeHTTP(held, r.WithContext(ctx))
					w.WriteHeader(held.Code)
				})
			}},
			want: map[string]check.State{"stream": check.Failed}, says: "buffering",
		},
		"a proxy that strips upgrades": {
			world: world{front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Upgrade")
					r.Header.Del("Connection")
					h.ServeHTTP(w, r)
				})
			}},
			want: map[string]check.State{"socket": check.Failed}, says: "Upgrade",
		},
		"a proxy with a short timeout": {
			world: world{front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("wait") == "2" {
						http.Error(w, "Gateway Timeout", http.StatusGatewayTimeout)
						return
					}
					h.ServeHTTP(w, r)
				})
			}},
			want: map[string]check.State{"long poll": check.Failed}, says: "504",
		},
		"a wrong clock": {
			world: world{front: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
					h.ServeHTTP(w, r)
				})
			}},
			want: map[string]check.State{"server": check.Warning}, says: "NTP",
		},
		"no TURN": {
			world: world{urls: func(udp, _ string) []string { return []string{"stun:" + udp} }},
			want:  map[string]check.State{"ICE servers": check.Warning, "relay": check.Skipped}, says: "--ice-server",
		},
		"no ICE servers": {
			world: world{urls: func(string, string) []string { return nil }},
			want:  map[string]check.State{"ICE servers": check.Warning, "relay": check.Skipped}, says: "same network",
		},
		"another secret": {
			world: world{secret: turncred.New("another secret")},
			want:  map[string]check.State{"TURN over UDP": check.Failed, "TURN over TCP": check.Failed, "relay": check.Skipped}, says: "secrets",
		},
		"a closed port": {
			world: world{urls: func(udp, _ string) []string { return []string{"turn:" + udp, "turn:127.0.0.1:1?transport=tcp"} }},
			want:  map[string]check.State{"TURN over TCP": check.Failed}, says: "Open TCP port 1 in the firewall.",
		},
		"a relay into the operator's network": {
			world: world{relay: openRelay, urls: func(udp, _ string) []string { return []string{"turn:" + udp} }},
			want:  map[string]check.State{"closed relay": check.Open}, says: "127.0.0.1",
		},
		"public metrics": {
			world: world{extra: map[string]string{"/base/metrics": "# HELP inbox_inboxes Inboxes.\n"}},
			want:  map[string]check.State{"private pages": check.Open}, says: "--metrics-listen",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := false
			for name, r := range run(t, check.Config{URL: c.start(t)}) {
				want := check.OK
				if state, ok := c.want[name]; ok {
					want = state
					said = said || strings.Contains(r.Detail+r.Advice, c.says)
				}
				if r.State != want {
					t.Errorf("%s is %s, want %s", name, r.State, want)
				}
			}
			if !said {
				t.Errorf("no result contains %q", c.says)
			}
		})
	}
}

// openRelay starts a relay whose operator forgot to deny private addresses.
func openRelay(t *testing.T) (udp, tcp string) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	generator := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "open", AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			claim, ok := credentials.Verify(r.Username)
			return claim.User, turn.GenerateAuthKey(r.Username, r.Realm, claim.Password), ok
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: conn, RelayAddressGenerator: generator,
			PermissionHandler: func(net.Addr, net.IP) bool { return true },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return conn.LocalAddr().String(), ""
}

// A missing server, or something else in its place, ends the checks immediately and with
// a reason.
func TestNoServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	draining := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "draining\n")
	}))
	defer draining.Close()
	for address, c := range map[string]struct{ check, says string }{
		"http://localhost:1":                     {"server", "refused"},
		other.URL:                                {"server", "other than an inbox server"},
		draining.URL:                             {"server", "stopping"},
		"https://nowhere.invalid":                {"name", "has no address"},
		strings.Replace(other.URL, "p", "ps", 1): {"certificate", ""},
	} {
		got := run(t, check.Config{URL: address})
		if r := got[c.check]; r.State != check.Failed || !strings.Contains(r.Detail, c.says) {
			t.Errorf("%s: %+v", address, r)
		}
		if _, ok := got["poll"]; ok {
			t.Errorf("%s: the checks continue", address)
		}
	}
}

// A hostile server can neither control the terminal of the person who checks it nor keep
// the program busy.
func TestHostileServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			io.WriteString(w, "ok\n")
		case "/ice":
			io.WriteString(w, `{"iceServers":[{"urls":["stun:127.0.0.1:1"`+strings.Repeat(`,"stun:127.0.0.1:1"`, 1000)+`]}]}`)
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"detail":"gone\u001b[2J\u009b2J\r\n"}`)
		}
	}))
	t.Cleanup(s.Close)
	results := run(t, check.Config{URL: s.URL, Timeout: 5 * time.Second})
	if got := results["ICE servers"]; got.State != check.Failed || !strings.Contains(got.Detail, "1001") {
		t.Errorf("1,001 ICE servers: %+v", got)
	}
	for name, r := range results {
		if strings.ContainsFunc(r.Detail, unicode.IsControl) {
			t.Errorf("%s: %q", name, r.Detail)
		}
	}
	if got := results["poll"].Detail; !strings.Contains(got, "gone") {
		t.Errorf("poll: %q", got)
	}
}

func TestCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		insecure  bool
		want      check.State
		continues bool
	}{
		"untrusted": {want: check.Failed},
		"insecure":  {insecure: true, want: check.Warning, continues: true},
	} {
		t.Run(name, func(t *testing.T) {
			certificate := inboxtest.NewCertificate(t, "test")
			base := world{tls: &tls.Config{Certificates: []tls.Certificate{certificate.Pair}}}.start(t)
			got := run(t, check.Config{URL: base, Insecure: c.insecure})
			if r := got["certificate"]; r.State != c.want || !strings.Contains(r.Advice, "--tls acme") {
				t.Errorf("%+v", r)
			}
			if _, continues := got["poll"]; continues != c.continues {
				t.Errorf("the checks continue: %v", continues)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"signal.example.com":               "https://signal.example.com/",
		"https://signal.example.com":       "https://signal.example.com/",
		"https://signal.example.com/a/":    "https://signal.example.com/a/",
		"http://localhost:3000/inbox":      "http://localhost:3000/",
		"http://[::1]:3000/base/inbox":     "http://[::1]:3000/base/",
		"ftp://example.com":                "",
		"https://":                         "",
		"https://user:pass@example.com":    "",
		"https://example.com/?to=somebody": "",
		"https://example.com:port":         "",
		"":                                 "",
	} {
		u, err := check.ParseURL(text)
		if want == "" && err == nil || want != "" && (err != nil || u.String() != want) {
			t.Errorf("%q: %v, %v, want %q", text, u, err, want)
		}
	}
}
