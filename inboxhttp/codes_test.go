package inboxhttp_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Section 15: codes.

// code creates a code for a peer, or for a room if query names one.
func (s *server) code(id, query string) string {
	s.Helper()
	a := s.do(request{method: http.MethodPost, id: id, query: "?code" + query})
	var got struct {
		Code    string
		Seconds int
	}
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || a.status != http.StatusOK || len(got.Code) != 6 || got.Seconds != 600 {
		s.Fatalf("a code: got %d %s", a.status, a.body)
	}
	return got.Code
}

func (s *server) redeem(code string) answer {
	s.Helper()
	return s.do(request{method: http.MethodPost, path: "/code", body: strings.NewReader(code)})
}

func TestCodes(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		code := s.code("alice", "")
		if a := s.redeem(" " + strings.ToLower(code[:3]) + " " + code[3:] + "-"); a.body != `{"id":"alice"}` || a.header.Get("Content-Type") != "application/json" {
			s.Errorf("got %d %s", a.status, a.body)
		}
		s.redeem(code).wantProblem("no-such-code")
		if a := s.redeem(s.code("alice", "&room=standup")); a.body != `{"id":"alice","room":"standup"}` {
			s.Errorf("got %d %s", a.status, a.body)
		}
		if !s.alive("alice") {
			s.Error("a code has not opened the inbox")
		}
		for _, c := range []struct{ id, query, code string }{
			{"alice", "?code=x", "bad-request"},
			{"alice", "?code&code", "bad-request"},
			{"alice", "?code&to=bob", "bad-request"},
			{"alice", "?code&room=", "bad-request"},
			{"alice", "?code&room=a&room=b", "bad-request"},
			{"alice", "?code&room=a%3Ab", "bad-request"},
		} {
			s.do(request{method: http.MethodPost, id: c.id, query: c.query}).wantProblem(c.code)
		}
		s.do(request{method: http.MethodPost, id: "alice", password: "wrong", query: "?code"}).wantProblem("unauthorized")
		for _, text := range []string{"", "ABCDE", "ABCDEFG", "ABCDE1", "ABCDEI", "ÄBCDEF", "ABC\x00DE"} {
			s.redeem(text).wantProblem("bad-request")
		}
		s.redeem(strings.Repeat("A", 65)).wantProblem("too-large")
		s.do(request{path: "/code"}).wantProblem("method-not-allowed")
	})
}

// An address can try three wrong codes a minute. A right one does not count.
func TestCodesCannotBeGuessed(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		for range 20 {
			s.redeem(s.code("alice", "")).want(http.StatusOK)
		}
		for range 3 {
			s.redeem("AAAAAA").wantProblem("no-such-code")
		}
		code := s.code("alice", "")
		if wait := s.redeem(code).wantLimited(); wait > 20*time.Second {
			s.Errorf("the address has to wait for %v", wait)
		}
		time.Sleep(20 * time.Second)
		s.redeem(code).want(http.StatusOK)

		created := 20 + 1
		for s.do(request{method: http.MethodPost, id: "alice", query: "?code"}).status == http.StatusOK {
			created++
		}
		if created < 60 || created > 70 {
			s.Errorf("an address created %d codes at once", created)
		}
	})
}
