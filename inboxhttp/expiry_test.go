package inboxhttp_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// PROTOCOL, section 4: expiry.

// "An inbox expires 60 seconds (configurable) after its owner last asked for
// messages", however it asked.
func TestExpiry(t *testing.T) {
	for _, query := range []string{"?wait=0", "?wait=0&after=0", "?limit=0", "?limit=0&after=0"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				s.open("alice")
				for range 5 {
					time.Sleep(59 * time.Second)
					s.get("alice", query).want(http.StatusNoContent)
				}
				time.Sleep(time.Minute - time.Nanosecond)
				if !s.alive("alice") {
					t.Fatal("the inbox expired early")
				}
				time.Sleep(time.Nanosecond)
				if s.alive("alice") {
					t.Fatal("the inbox did not expire")
				}
			})
		})
	}
}

// A request that was refused is no asking.
func TestRefusedRequestsMoveNoExpiry(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		for range 59 {
			time.Sleep(time.Second)
			s.get("alice", "?wait=x").want(http.StatusBadRequest)
			s.get("alice", "?after=x").want(http.StatusBadRequest)
			s.do(request{method: http.MethodHead, id: "alice"}).want(http.StatusMethodNotAllowed)
			s.do(request{id: "alice", header: http.Header{"Sec-Fetch-Mode": {"navigate"}}}).want(http.StatusForbidden)
		}
		time.Sleep(time.Second)
		if s.alive("alice") {
			t.Fatal("refused requests kept the inbox alive")
		}
	})
}

// "While a receiver waits it does not expire": also where the longest wait is
// longer than the life of an inbox.
func TestNoExpiryWhileWaiting(t *testing.T) {
	inBubble(t, config{limits: limitTTL(10 * time.Second)}, func(s *server) {
		s.send("alice", "alice", "x")
		last := s.poll("alice").cursor()
		waits := s.wait("alice", "?after="+last)
		time.Sleep(24 * time.Second)
		s.send("bob", "alice", "after two lives")
		waits.answer().wantMessage("bob", "after two lives").wantHeader("Inbox-Reset", "")
	})
}

// A receiver that leaves stops asking when it leaves, not when it came.
func TestExpiryAfterAWait(t *testing.T) {
	for name, leave := range map[string]func(*pending){
		"answered": func(p *pending) { p.answer().want(http.StatusNoContent) },
		"left": func(p *pending) {
			time.Sleep(25*time.Second - time.Nanosecond)
			p.leave()
			<-p.done
			time.Sleep(time.Nanosecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				leave(s.wait("alice", ""))
				synctest.Wait()
				time.Sleep(time.Minute - time.Second)
				if !s.alive("alice") {
					t.Fatal("the inbox expired early")
				}
				time.Sleep(time.Second)
				if s.alive("alice") {
					t.Fatal("the inbox did not expire")
				}
			})
		})
	}
}

// "An expired inbox is gone with all that it held, and its name is free."
func TestExpired(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "gone with it")
		s.expire()
		s.post("carol", "alice", "too late").wantProblem("no-such-inbox")
		s.do(request{id: "alice", password: "another", query: "?wait=0"}).want(http.StatusNoContent)
		s.get("alice", "?wait=0").wantProblem("unauthorized")
	})
}
