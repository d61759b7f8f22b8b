package inboxhttp_test

import (
	"fmt"
	"net/http"
	"testing"
)

// Sections 4.5 and 4.7: one receiver, and closing.

// A new receiver replaces the waiting one, which ends with 409 replaced and takes
// nothing.
func TestReplaced(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		for _, older := range []string{"", "?after=0"} {
			for _, newer := range []string{"", "?after=0"} {
				id := fmt.Sprintf("alice %q %q", older, newer)
				first := s.wait(id, older)
				second := s.wait(id, newer)
				first.answer().want(http.StatusConflict).wantProblem("replaced")
				s.send("bob", id, "for the newest")
				second.answer().wantMessage("bob", "for the newest")
			}
		}
	})
}

func TestManyReplaced(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		var all []*pending
		for range 50 {
			all = append(all, s.wait("alice", ""))
		}
		s.send("bob", "alice", "for the newest")
		for _, p := range all[:49] {
			p.answer().wantProblem("replaced")
		}
		all[49].answer().wantMessage("bob", "for the newest")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// Requests with wait=0 or limit=0 are not receivers and replace none.
func TestPollsReplaceNobody(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		waits := s.wait("alice", "?after=0")
		for _, query := range []string{"?wait=0", "?wait=0&after=0", "?limit=0", "?limit=0&after=0", "?limit=0&wait=25"} {
			s.get("alice", query).want(http.StatusNoContent)
			s.getJSON("alice", query).want(http.StatusNoContent)
		}
		s.send("bob", "alice", "hello")
		waits.answer().wantMessage("bob", "hello")
	})
}

// A refused request replaces no receiver either.
func TestRefusedRequestsReplaceNobody(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		waits := s.wait("alice", "?after=0")
		s.get("alice", "?wait=x").want(http.StatusBadRequest)
		s.get("alice", "?after=x").want(http.StatusBadRequest)
		s.do(request{id: "alice", password: "guessed"}).want(http.StatusUnauthorized)
		s.do(request{method: http.MethodHead, id: "alice"}).want(http.StatusMethodNotAllowed)
		s.do(request{id: "alice", header: http.Header{"Sec-Fetch-Mode": {"no-cors"}}}).want(http.StatusForbidden)
		s.send("bob", "alice", "hello")
		waits.answer().wantMessage("bob", "hello")
	})
}

// A replaced receiver can come back, and is then the newest.
func TestReplacedReceiverReturns(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		first := s.wait("alice", "?after=0")
		second := s.wait("alice", "?after=0")
		first.answer().wantProblem("replaced")
		third := s.wait("alice", "?after=0")
		second.answer().wantProblem("replaced")
		s.send("bob", "alice", "hello")
		third.answer().wantMessage("bob", "hello")
	})
}

// Receivers of different inboxes do not affect each other.
func TestReceiversOfOtherInboxes(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		alice, bob := s.wait("alice", ""), s.wait("bob", "")
		s.send("carol", "bob", "for bob")
		bob.answer().wantMessage("carol", "for bob")
		s.send("carol", "alice", "for alice")
		alice.answer().wantMessage("carol", "for alice")
	})
}

// DELETE closes the inbox, and its waiting receiver ends with 409 closed.
func TestClose(t *testing.T) {
	closing := request{method: http.MethodDelete, id: "alice"}
	overStores(t, config{}, func(s *server) {
		waits := s.wait("alice", "?after=0")
		s.do(closing).want(http.StatusNoContent, "")
		waits.answer().want(http.StatusConflict).wantProblem("closed")
		if s.alive("alice") {
			s.Fatal("the inbox exists after it was closed")
		}
		s.do(closing).want(http.StatusNoContent, "") // a DELETE without an inbox succeeds

		s.open("alice")
		s.send("bob", "alice", "gone with it")
		s.do(closing).want(http.StatusNoContent, "")
		// The name is free for any peer.
		s.do(request{id: "alice", password: "another", query: "?wait=0"}).want(http.StatusNoContent)
		s.get("alice", "?wait=0").wantProblem("unauthorized")
		s.do(closing).wantProblem("unauthorized")
	})
}

// With life, DELETE closes only an inbox of that life.
func TestCloseOfOneLife(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		closing := func(life string) answer {
			return s.do(request{method: http.MethodDelete, id: "alice", query: "?life=" + life})
		}
		cursor := func() string { return s.get("alice", "?limit=0").header.Get("Inbox-Cursor") }
		late := cursor()
		closing(late).want(http.StatusNoContent, "")
		if s.alive("alice") {
			s.Fatal("the inbox exists after its life was closed")
		}
		now := cursor()
		s.send("bob", "alice", "kept")
		closing(late).want(http.StatusNoContent, "")
		s.get("alice", "?after=0").wantMessage("bob", "kept")
		for _, bad := range []string{"0", "", "x", now + "x"} {
			closing(bad).wantProblem("bad-cursor")
		}
		closing(now + "&life=" + now).wantProblem("bad-request")
		s.do(request{method: http.MethodDelete, id: "alice", password: "another", query: "?life=" + late}).wantProblem("unauthorized")
		s.get("alice", "?after=0").wantMessage("bob", "kept")
		closing(now).want(http.StatusNoContent, "")
		if s.alive("alice") {
			s.Fatal("the inbox exists after its life was closed")
		}
	})
}

// Closing an inbox without a receiver does not end a later one.
func TestReceiverAfterClose(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.wait("alice", "?wait=1").answer().want(http.StatusNoContent)
		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		waits := s.wait("alice", "")
		s.send("bob", "alice", "hello")
		waits.answer().wantMessage("bob", "hello")
	})
}
