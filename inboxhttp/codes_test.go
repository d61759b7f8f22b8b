package inboxhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/limit"
	"inbox/memstore"
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

// However many addresses guess together, they try 60 wrong codes a minute in the long run, and
// people at other addresses can use their codes.
func TestManyAddressesCannotGuessCodes(t *testing.T) {
	c := limited(limit.Config{})
	inBubble(t, c, func(s *server) {
		guess := func(address string) answer {
			return s.do(request{method: http.MethodPost, path: "/code", body: strings.NewReader("AAAAAA")}.from(address))
		}
		honest := func(address, code string) answer {
			return s.do(request{method: http.MethodPost, path: "/code", body: strings.NewReader(code)}.from(address))
		}
		const attackers, minutes = 250, 20 // without a limit for all, they could try 15,000
		tried := 0
		for range minutes {
			for i := range attackers {
				for range 3 {
					a := guess(fmt.Sprint("198.18.0.", i))
					if a.status != http.StatusNotFound {
						if wait := a.wantLimited(); wait > time.Hour {
							s.Fatalf("an attacker has to wait for %v", wait)
						}
						break
					}
					tried++
				}
			}
			time.Sleep(time.Minute)
		}
		if tried < 600 || tried > 600+attackers+60*minutes {
			s.Errorf("the attackers have tried %d codes", tried)
		}
		for i := range 3 {
			// A wrong code does not keep the address from using the right one an hour later.
			address := fmt.Sprint("2001:db8:", i, "::1")
			honest(address, s.code("alice", "")).want(http.StatusOK)
			honest(address, "BBBBBB").wantProblem("no-such-code")
		}
		for i := range attackers { // the attack continues
			guess(fmt.Sprint("198.18.0.", i))
		}
		// People can mistype a code, and even mistype it twice.
		honest("2001:db8:0:0:ffff::2", s.code("alice", "")).want(http.StatusOK)
		honest("2001:db8:1::1", "BBBBBB").wantProblem("no-such-code")
		honest("2001:db8:1::1", s.code("alice", "")).want(http.StatusOK)

		// So many addresses that each of them tries a single code.
		tried = 0
		for ; tried < 400; tried++ {
			guess(fmt.Sprintf("198.19.%d.%d", tried>>8, tried&255)).wantProblem("no-such-code")
		}
		code := s.code("alice", "")
		wait := honest("2001:db8:2::1", code).wantLimited() // it has tried a wrong code
		if wait > 10*time.Minute {
			s.Errorf("an address that has tried one wrong code has to wait for %v", wait)
		}
		honest("203.0.113.2", s.code("alice", "")).want(http.StatusOK)
		for {
			if a := guess(fmt.Sprintf("198.19.%d.%d", tried>>8, tried&255)); a.status == http.StatusTooManyRequests {
				break
			}
			if tried++; tried > 1500 {
				s.Fatal("there is no limit for all addresses")
			}
		}
		wait = honest("203.0.113.1", code).wantLimited()
		if wait > 2*time.Second {
			s.Errorf("others have to wait for %v", wait)
		}
		time.Sleep(wait)
		honest("203.0.113.1", code).want(http.StatusOK)
	})
}

// If the store refuses an address another code, the answer has a Retry-After.
func TestAnAddressWithTooManyCodes(t *testing.T) {
	inBubble(t, limited(limit.Config{}), func(s *server) {
		var a answer
		created := 0
		for { // as fast as the rate of new codes permits
			if a = s.do(request{method: http.MethodPost, id: "alice", query: "?code"}); a.status != http.StatusOK {
				if wait := a.wantLimited(); wait == time.Minute {
					break
				}
				time.Sleep(6 * time.Second)
				continue
			}
			if created++; created > 200 {
				s.Fatal("there is no limit")
			}
		}
		if created < 120 || created > 128 {
			s.Errorf("an address has %d codes", created)
		}
		s.do(request{method: http.MethodPost, id: "bob", query: "?code"}.fromAnother()).want(http.StatusOK)
		time.Sleep(10 * time.Minute)
		s.do(request{method: http.MethodPost, id: "alice", query: "?code"}).want(http.StatusOK)
	})
}

// A client cannot try more codes by trying them at the same time, however slow the store is.
func TestSimultaneousGuesses(t *testing.T) {
	store := new(slowCodes)
	c := limited(limit.Config{})
	c.open = func(_ testing.TB, l inbox.Limits) inbox.Store {
		store.Store, store.answer = memstore.New(l), make(chan struct{})
		return store
	}
	inBubble(t, c, func(s *server) {
		var all sync.WaitGroup
		var missing, limited atomic.Int32
		for range 20 {
			all.Go(func() {
				switch s.redeem("AAAAAA").status {
				case http.StatusNotFound:
					missing.Add(1)
				case http.StatusTooManyRequests:
					limited.Add(1)
				}
			})
		}
		synctest.Wait()
		close(store.answer)
		all.Wait()
		if missing.Load() != 3 || limited.Load() != 17 {
			s.Errorf("%d codes were tried and %d refused, want 3 and 17", missing.Load(), limited.Load())
		}
	})
}

// slowCodes is a store that redeems codes only when answer is closed.
type slowCodes struct {
	inbox.Store
	answer chan struct{}
}

func (s *slowCodes) Redeem(ctx context.Context, code string) (inbox.Invitation, error) {
	<-s.answer
	return s.Store.Redeem(ctx, code)
}
