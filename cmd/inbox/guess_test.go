package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"inbox/internal/guard"
	"inbox/internal/inboxtest"
	"inbox/internal/problem"
	"inbox/internal/redistest"
)

// caller is a client with its own address.
type caller struct {
	testing.TB
	server string // URL of the server
	http   *http.Client
	dialer net.Dialer
}

func callFrom(t testing.TB, server, address string) *caller {
	c := &caller{TB: t, server: server, dialer: net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}}
	transport := &http.Transport{DialContext: c.dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport}
	return c
}

// request returns the code of a response, or "" for a success. A refusal must have
// Retry-After.
func (c *caller) request(method, query, id, password, accept string) string {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.server+"/inbox"+query, nil)
	if err != nil {
		c.Fatal(err)
	}
	req.SetBasicAuth(id, password)
	req.Header.Set("Accept", accept)
	res, err := c.http.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode < 300 {
		return ""
	}
	var p struct{ Code string }
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		c.Fatal(err)
	}
	if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
		c.Errorf("%s without Retry-After", res.Status)
	}
	return p.Code
}

// socket opens a socket and sends a frame. It returns the reason for which it is closed,
// or "" if it is opened.
func (c *caller) socket(path, subprotocol, authorization, first string) string {
	c.Helper()
	dialer := ws.Dialer{NetDial: c.dialer.DialContext}
	if subprotocol != "" {
		dialer.Protocols = []string{subprotocol}
	}
	if authorization != "" {
		dialer.Header = ws.HandshakeHeaderHTTP{"Authorization": {authorization}}
	}
	dialer.OnStatusError = func(status int, _ []byte, _ io.Reader) {}
	conn, early, _, err := dialer.Dial(c.Context(), "ws"+strings.TrimPrefix(c.server, "http")+path)
	if status, ok := err.(ws.StatusError); ok {
		for _, p := range problem.All {
			if p.Status == int(status) {
				return p.Code
			}
		}
	}
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	r := io.Reader(conn)
	if early != nil {
		r = io.MultiReader(early, conn)
	}
	r = bufio.NewReader(r)
	if first != "" {
		if err := wsutil.WriteClientText(conn, []byte(first)); err != nil {
			c.Fatal(err)
		}
	}
	kind, said, err := inboxtest.ReadFrame(r)
	if err != nil {
		c.Fatal(err)
	}
	switch text := string(said); {
	case kind == ws.OpClose:
		p, _ := problem.OfClose(int(binary.BigEndian.Uint16(said)))
		return p.Code
	case strings.Contains(text, `"opened"`), strings.Contains(text, `"OPEN"`):
		return ""
	case strings.Contains(text, `"ID-TAKEN"`):
		return problem.Unauthorized.Code
	default:
		return text
	}
}

// transports are all ways to present a password. Each returns the code of the response.
var transports = map[string]func(c *caller, id, password string) string{
	"poll": func(c *caller, id, password string) string { return c.request("GET", "?wait=0", id, password, "*/*") },
	"long poll": func(c *caller, id, password string) string {
		return c.request("GET", "?after=0&wait=1", id, password, "*/*")
	},
	"acknowledgement": func(c *caller, id, password string) string {
		return c.request("GET", "?limit=0", id, password, "*/*")
	},
	"stream": func(c *caller, id, password string) string {
		return c.request("GET", "?after=0", id, password, "text/event-stream")
	},
	"send": func(c *caller, id, password string) string { return c.request("POST", "?to=sink", id, password, "*/*") },
	"close": func(c *caller, id, password string) string {
		return c.request("DELETE", "?life="+otherLife, id, password, "*/*")
	},
	"handshake": func(c *caller, id, password string) string {
		req := &http.Request{Header: make(http.Header)}
		req.SetBasicAuth(id, password)
		return c.socket("/inbox", "inbox.v1", req.Header.Get("Authorization"), "")
	},
	"open frame": func(c *caller, id, password string) string {
		return c.socket("/inbox", "inbox.v1", "", fmt.Sprintf(`{"type":"open","id":%q,"password":%q}`, id, password))
	},
	"PeerJS": func(c *caller, id, password string) string {
		return c.socket("/peerjs?"+url.Values{"key": {"peerjs"}, "id": {id}, "token": {password}}.Encode(), "", "", "")
	},
}

// otherLife is a cursor of a life that no inbox has.
const otherLife = "AAAAAAAAAAEAAAAAAAAAAQ"

// After too many wrong passwords for an inbox, a client gets the same response to a right
// and a wrong password, on every transport. The owner at another address is not affected.
func TestTooManyWrongPasswords(t *testing.T) {
	for name, flags := range map[string][]string{
		"memory": nil,
		"redis":  ofRedis(t, "redis://"+redistest.Start(t).Addr),
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, append(flags, "--limit-passwords=0", "--limit-passwords-per-inbox=1/h,burst=3")...)
			owner := callFrom(t, r.url, "127.0.0.1")
			stranger, other := callFrom(t, r.url, "127.0.0.2"), callFrom(t, r.url, "127.0.0.3")
			owner.request("GET", "?limit=0", "sink", "x", "*/*")
			for name, try := range transports {
				id := "inbox of " + name
				if name == "PeerJS" { // its inbox lives as long as its socket
					defer owner.holdPeer(id, "right")()
				} else if code := transports["poll"](owner, id, "right"); code != "" {
					t.Fatalf("%s: the owner got %s", name, code)
				}
				for i := range 3 {
					if code := try(stranger, id, fmt.Sprint("guess ", i)); code != "unauthorized" {
						t.Errorf("%s: guess %d got %q", name, i, code)
					}
				}
				for _, password := range []string{"guess", "right", "guess"} {
					if code := try(stranger, id, password); code != "rate-limited" {
						t.Errorf("%s: after too many guesses, %s got %q", name, password, code)
					}
				}
				for _, to := range []string{"sink", "nobody"} { // the answer does not reveal which ids exist
					code := stranger.request("POST", "?to="+to, id, "right", "*/*")
					if name != "PeerJS" && code != "rate-limited" { // PeerJS ids are separate
						t.Errorf("%s: a send to %s got %q", name, to, code)
					}
				}
				if code := try(other, id, "guess"); code != "unauthorized" {
					t.Errorf("%s: another address got %q", name, code)
				}
				if code := try(owner, id, "right"); code != "" {
					t.Errorf("%s: the owner got %q", name, code)
				}
				if code := try(stranger, id+", another", "right"); code != "" {
					t.Errorf("%s: the guessing client got %q at its own inbox", name, code)
				}
			}
		})
	}
}

// holdPeer opens a PeerJS socket and keeps it open until end is called.
func (c *caller) holdPeer(id, token string) (end func()) {
	conn, early, _, err := ws.Dialer{NetDial: c.dialer.DialContext}.Dial(c.Context(),
		"ws"+strings.TrimPrefix(c.server, "http")+"/peerjs?"+url.Values{"key": {"peerjs"}, "id": {id}, "token": {token}}.Encode())
	if err != nil {
		c.Fatal(err)
	}
	r := io.Reader(conn)
	if early != nil {
		r = early
	}
	if _, said, err := inboxtest.ReadFrame(r); err != nil || !strings.Contains(string(said), "OPEN") {
		c.Fatalf("%s, %v", said, err)
	}
	return func() { conn.Close() }
}

// With --limit-passwords-per-inbox=0 and --limit-passwords=0, guesses are unlimited.
func TestWrongPasswordsWithoutLimits(t *testing.T) {
	r := serve(t, "--limit-passwords=0", "--limit-passwords-per-inbox=0")
	c := callFrom(t, r.url, "127.0.0.1")
	c.request("GET", "?limit=0", "alice", "right", "*/*")
	for range 200 {
		if code := c.request("GET", "?limit=0", "alice", "wrong", "*/*"); code != "unauthorized" {
			t.Fatalf("got %q", code)
		}
	}
}

// One sender fills half of an inbox, on every transport, and all of it with
// --sender-share=0.
func TestSenderShare(t *testing.T) {
	for share, want := range map[string]int{"50": 5, "0": 10, "25": 3} {
		t.Run(share, func(t *testing.T) {
			r := serve(t, "--inbox-capacity=10", "--sender-share="+share)
			c := callFrom(t, r.url, "127.0.0.1")
			c.request("GET", "?limit=0", "bob", "x", "*/*")
			n := 0
			for range 20 {
				code := c.request("POST", "?to=bob", "alice", "x", "*/*")
				if code == "" {
					n++
				} else if code != "inbox-full" {
					t.Fatalf("got %q", code)
				}
			}
			if n != want {
				t.Errorf("one sender alone sent %d messages, want %d", n, want)
			}
			if share != "0" {
				if code := c.request("POST", "?to=bob", "carol", "x", "*/*"); code != "" {
					t.Errorf("another sender got %q", code)
				}
			}
		})
	}
}

// All tables that count by address take at most 2 MiB for 65,536 addresses, regardless of
// the number of clients.
func TestTablesOfAddresses(t *testing.T) {
	var c cli
	parse(t, &c)
	clients := c.Serve.clients(nil)
	guarded, ok := c.Serve.guard(nil, nil).(*guard.Store)
	if !ok || clients == nil {
		t.Fatal("there are no limits")
	}
	if n := clients.TableBytes() + guarded.TableBytes(); n > 2<<20 {
		t.Errorf("the tables take %d KiB, want at most 2 MiB", n>>10)
	} else {
		t.Logf("%d KiB", n>>10)
	}
}
