package inboxhttp_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Section 4.6: expiry.

// An inbox expires one TTL after its owner last asked for messages, in whatever form.
func TestExpiry(t *testing.T) {
	for _, query := range []string{"?wait=0", "?wait=0&after=0", "?limit=0", "?limit=0&after=0"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				s.open("alice")
				for range 5 {
					time.Sleep(59 * time.Second)
					s.get("alice", query).want(http.StatusNoContent)
				}
				wantLife(s, "alice", time.Minute)
			})
		})
	}
}

// A refused request does not restart the expiry.
func TestRefusedRequestsDoNotRestartExpiry(t *testing.T) {
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

// An inbox does not expire while a receiver waits, even if the wait is longer than the
// TTL.
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

// The TTL after a wait starts when the receiver leaves, not when it arrived.
func TestExpiryAfterAWait(t *testing.T) {
	for name, leave := range map[string]func(*pending){
		"answered": func(p *pending) { p.answer().want(http.StatusNoContent) },
		"left": func(p *pending) {
			time.Sleep(25*time.Second - time.Nanosecond)
			p.leave()
			<-p.done
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				leave(s.wait("alice", ""))
				synctest.Wait()
				wantLife(s, "alice", time.Minute)
			})
		})
	}
}

// An expired inbox is gone with its contents, and its name is free.
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
