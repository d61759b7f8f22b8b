package inboxhttp_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/inboxhttp"
)

// Section 12.1: STUN and TURN servers.

func listsICE() inboxhttp.Config {
	return inboxhttp.Config{ICEServers: func(r *http.Request, id string) []inboxhttp.ICEServer {
		return []inboxhttp.ICEServer{
			{URLs: []string{"stun:" + r.Host}},
			{URLs: []string{"turn:" + r.Host}, Username: "user of " + id, Credential: "secret of " + id},
		}
	}}
}

func public(c inboxhttp.Config) inboxhttp.Config {
	c.ICEPublic = true
	return c
}

type iceAnswer struct {
	ICEServers []inboxhttp.ICEServer
	TTL        int
}

func (a answer) ice(t testing.TB) (got iceAnswer) {
	t.Helper()
	a.want(http.StatusOK)
	if a.header.Get("Content-Type") != "application/json" {
		t.Errorf("/ice answered with %s", a.header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return got
}

func TestICE(t *testing.T) {
	overStores(t, config{Config: listsICE()}, func(s *server) {
		a := s.do(request{path: "/ice", id: "alice", host: "inbox.example"})
		got := a.ice(s)
		if want := `{"iceServers":[{"urls":["stun:inbox.example"]},{"urls":["turn:inbox.example"],"username":"user of alice","credential":"secret of alice"}],"ttl":43200}`; a.body != want {
			s.Errorf("answered %s, want %s", a.body, want)
		}
		if got.TTL != 43200 {
			s.Errorf("a ttl of %d", got.TTL)
		}
	})
}

// A server without any returns an empty list.
func TestICEWithoutServers(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		if a := s.do(request{path: "/ice", id: "alice"}); a.body != `{"iceServers":[],"ttl":43200}` {
			s.Errorf("answered %s", a.body)
		}
	})
}

// GET /ice opens no inbox.
func TestICEOpensNoInbox(t *testing.T) {
	overStores(t, config{Config: listsICE()}, func(s *server) {
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusOK)
		if s.alive("alice") {
			s.Error("the inbox was opened")
		}
		// The id is still free.
		s.do(request{id: "alice", password: "another", query: "?limit=0"}).want(http.StatusNoContent)
	})
}

// GET /ice does not extend the life of an inbox and takes no message.
func TestICEDoesNotKeepAnInboxAlive(t *testing.T) {
	inBubble(t, config{Config: listsICE(), limits: limitTTL(time.Minute)}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "hello")
		time.Sleep(40 * time.Second)
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusOK)
		if got := s.getJSON("alice", "?after=0&wait=0").batch().Messages; len(got) != 1 {
			s.Errorf("the inbox has %d messages, want 1", len(got))
		}
		time.Sleep(40 * time.Second)
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusOK)
		time.Sleep(40 * time.Second)
		if s.alive("alice") {
			s.Error("the inbox outlived its TTL")
		}
	})
}

func TestICERequiresThePassword(t *testing.T) {
	overStores(t, config{Config: listsICE()}, func(s *server) {
		s.open("alice")
		s.do(request{path: "/ice", id: "alice", password: "wrong"}).want(http.StatusUnauthorized).wantProblem("unauthorized")
		s.do(request{path: "/ice"}).want(http.StatusUnauthorized).wantProblem("unauthorized")
		s.do(request{path: "/ice", auth: []string{"Basic x", "Basic y"}}).wantProblem("bad-credentials")
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusOK)
	})
}

func TestICERefuses(t *testing.T) {
	overStores(t, config{Config: public(listsICE())}, func(s *server) {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodHead} {
			a := s.do(request{method: method, path: "/ice", id: "alice"}).want(http.StatusMethodNotAllowed)
			if a.header.Get("Allow") != "GET, OPTIONS" {
				s.Errorf("%s: Allow: %s", method, a.header.Get("Allow"))
			}
		}
		s.do(request{method: http.MethodOptions, path: "/ice"}).want(http.StatusNoContent)
		s.do(request{path: "/ice", id: "alice", body: strings.NewReader("x")}).wantProblem("bad-request")
		s.do(request{path: "/ice", id: "alice", query: "?%"}).wantProblem("bad-request")
		s.do(request{path: "/ice", id: "alice", header: http.Header{"Accept": {"text/html"}}}).wantProblem("forbidden-navigation")
		s.do(request{path: "/ice", header: http.Header{"Sec-Fetch-Mode": {"no-cors"}}}).wantProblem("forbidden-navigation")
	})
}

// If the server allows it, pages need no password, but programs do. Each page gets its
// own credentials.
func TestICEPublic(t *testing.T) {
	overStores(t, config{Config: public(listsICE())}, func(s *server) {
		page := http.Header{"Origin": {"https://app.example"}, "Sec-Fetch-Mode": {"cors"}}
		one, two := s.do(request{path: "/ice", header: page}).ice(s), s.do(request{path: "/ice", header: page}).ice(s)
		if len(one.ICEServers) != 2 || one.ICEServers[1].Username == two.ICEServers[1].Username {
			s.Errorf("two pages got %v and %v", one, two)
		}
		s.do(request{path: "/ice"}).wantProblem("unauthorized")
		s.open("alice")
		s.do(request{path: "/ice", id: "alice", password: "wrong", header: page}).wantProblem("unauthorized")
	})
}

func TestICEPublicIsForAllowedOrigins(t *testing.T) {
	c := public(listsICE())
	c.AllowOrigins = []string{"https://app.example"}
	overStores(t, config{Config: c}, func(s *server) {
		s.do(request{path: "/ice", header: http.Header{"Origin": {"https://app.example"}}}).ice(s)
		s.do(request{path: "/ice", host: "inbox.example", header: http.Header{"Origin": {"https://inbox.example"}}}).ice(s)
		s.do(request{path: "/ice", header: http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}}).ice(s)
		s.do(request{path: "/ice", header: http.Header{"Origin": {"https://evil.example"}}}).wantProblem("forbidden-origin")
	})
}

// Answers without a password are limited per address, with room for a whole school.
func TestICEPublicIsBounded(t *testing.T) {
	inBubble(t, config{Config: public(listsICE())}, func(s *server) {
		page := request{path: "/ice", header: http.Header{"Origin": {"https://app.example"}}}
		for range 1000 {
			s.do(page).want(http.StatusOK)
		}
		s.do(page).want(http.StatusTooManyRequests).wantProblem("rate-limited")
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusOK) // a request with a password is not limited
		time.Sleep(time.Second)
		s.do(page).want(http.StatusOK)
		s.do(page).want(http.StatusTooManyRequests)
	})
}

// A page of another origin can read the answer.
func TestICEInBrowsers(t *testing.T) {
	overStores(t, config{Config: listsICE()}, func(s *server) {
		p := page{s: s, origin: "https://app.example"}
		r := request{method: http.MethodGet, path: "/ice", id: "alice"}
		if a, readable := p.fetch(r, "authorization"); !readable || a.status != http.StatusOK {
			s.Errorf("answered %d, readable: %v", a.status, readable)
		}
	})
}

// While the store is unavailable, GET /ice reports it.
func TestICEWithoutAStore(t *testing.T) {
	inBubble(t, config{Config: listsICE(), open: func(testing.TB, inbox.Limits) inbox.Store { return &faultyStore{err: inbox.ErrUnavailable} }}, func(s *server) {
		s.do(request{path: "/ice", id: "alice"}).want(http.StatusServiceUnavailable).wantProblem("store-unavailable")
	})
}
