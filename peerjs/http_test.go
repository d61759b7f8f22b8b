package peerjs_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/peerjs"
)

func TestNewID(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		seen := make(map[string]bool)
		for _, path := range []string{"/peerjs/id", "/any/id", "/peerjs/id?ts=17000.5&version=1.5.5"} {
			status, id, h := s.get(path)
			if status != 200 || !uuid.MatchString(id) || seen[id] {
				t.Errorf("%s: %d %q", path, status, id)
			}
			seen[id] = true
			if got := h.Get("Content-Type"); got != "text/html; charset=utf-8" {
				t.Errorf("%s is %s", path, got)
			}
		}
		if status, body, h := s.ask("POST", "/peerjs/id"); status != 405 || h.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST: %d %s", status, body)
		}
	})
}

func TestInfo(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		const want = `{"name":"PeerJS Server","description":"A server side element to broker connections between PeerJS clients.","website":"https://peerjs.com/"}`
		status, body, h := s.get("/")
		if status != 200 || body != want || !strings.HasPrefix(h.Get("Content-Type"), "application/json") {
			t.Errorf("%d %s", status, body)
		}
	})
}

// An answer names the page's own origin, allowed or by default, and never allows
// credentials.
func TestOrigins(t *testing.T) {
	const origin = "https://a.example"
	for allowed, named := range map[string]string{"": origin, "*": origin, origin: origin, "https://b.example": ""} {
		var c peerjs.Config
		if allowed != "" {
			c.AllowOrigins = []string{allowed}
		}
		inBubble(t, c, func(s *server) {
			for _, path := range []string{"/peerjs/id", "/peerjs/peers", "/"} {
				_, _, h := s.get(path, "Origin", origin)
				if got := h.Get("Access-Control-Allow-Origin"); got != named {
					t.Errorf("%q allowed, %s: %q", allowed, path, got)
				}
				if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Vary") == "" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("%s has the headers %v", path, h)
				}
				if _, _, h := s.get(path); h.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s without an origin: %v", path, h)
				}
			}
			status, _, h := s.ask("OPTIONS", "/peerjs/id", "Origin", origin, "Access-Control-Request-Method", "GET")
			if got := h.Get("Access-Control-Allow-Origin"); got != named || named != "" && status != 204 {
				t.Errorf("%q allowed, a preflight: %d %q", allowed, status, got)
			}
		})
	}
}

func TestPeersAreNotListed(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		s.open("alice")
		if status, body, _ := s.get("/peerjs/peers"); status != 401 || body != "Unauthorized" {
			t.Errorf("%d %s", status, body)
		}
	})
}

// With discovery, all peers are listed within a second, including those of other servers
// with the same store.
func TestPeers(t *testing.T) {
	inBubble(t, peerjs.Config{Discovery: true}, func(s *server) {
		other := start(s.TB, peerjs.Config{Discovery: true, Store: s.store})
		silent := start(s.TB, peerjs.Config{Store: s.store})
		list := func(s *server, want string) {
			t.Helper()
			if status, body, _ := s.get("/peerjs/peers"); status != 200 || body != want {
				t.Errorf("%d %s, want %s", status, body, want)
			}
		}
		list(s, "[]")
		alice, bob := s.open("alice"), other.open("bob")
		silent.open("not listed")
		list(s, `["alice"]`) // this server's peers are listed immediately
		for range 200 {      // long after every expiry
			time.Sleep(time.Second)
			list(s, `["alice","bob"]`)
			list(other, `["alice","bob"]`)
		}
		s.open("alice") // briefly open twice
		list(s, `["alice","bob"]`)
		alice.WantClosed(4409)
		bob.leave()
		list(other, `["alice"]`)
		time.Sleep(time.Second)
		list(s, `["alice"]`)
		list(other, `["alice"]`)
	})
}

// A long list, and one that does not fit into an inbox.
func TestManyPeers(t *testing.T) {
	inBubbleWith(t, inbox.Limits{Bytes: 100 << 10}, peerjs.Config{Discovery: true}, func(s *server) {
		other := start(s.TB, peerjs.Config{Discovery: true, Store: s.store})
		const n = 130
		for i := range n {
			s.open(fmt.Sprintf("%0500d", i))
		}
		for range 3 {
			time.Sleep(time.Second)
			if _, body, _ := other.get("/peerjs/peers"); strings.Count(body, ",") != n-1 {
				t.Errorf("%d of %d are listed", strings.Count(body, ",")+1, n)
			}
			s.open("and another").leave()
		}
	})
}

func TestKeys(t *testing.T) {
	for key, ok := range map[string]bool{"peerjs": true, "a": true, "My-key_1.~": true, "": false, "a/b": false, "a:b": false, ".": false, strings.Repeat("x", 65): false} {
		if err := peerjs.CheckKey(key); (err == nil) != ok {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := peerjs.New(peerjs.Config{}); err == nil {
		t.Error("New succeeded without a store")
	}
}
