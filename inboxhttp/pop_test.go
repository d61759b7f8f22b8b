package inboxhttp_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"inbox"
	"inbox/internal/inboxtest"
)

// A client can have read the whole answer of a pop before its message has left the inbox.
// It must not receive the message again on any transport, and senders must find room.
func TestAfterTheAnswerOfAPop(t *testing.T) {
	overEach(t, []wire{tcp, overTLS, overUnix}, config{limits: inbox.Limits{Messages: 1}}, func(s *server) {
		for _, tr := range transports {
			for _, parked := range []bool{false, true} {
				id := fmt.Sprint(tr.name, ", parked ", parked)
				s.open(id)
				goOn := make(chan struct{})
				s.store.beforeEnd(func(string) { <-goOn })
				end := sync.OnceFunc(func() { close(goOn) })
				defer end() // also if the test fails

				c := s.rawClient()
				c.wait(id, "", parked)
				s.send("bob", id, "one")
				c.answer(http.MethodGet).wantMessage("bob", "one")
				s.send("bob", id, "two")
				misses := s.store.misses()
				next := make(chan heard, 1)
				connection := tr.connect(s, id, "0")
				go func() {
					e, err := connection.next()
					next <- heard{e, err}
				}()
				inboxtest.Until(s, "another look has found nothing", func() bool { return s.store.misses() > misses })
				select {
				case h := <-next:
					s.Errorf("%s: got %s %q (%v) before the end of the pop", id, h.code, h.body, h.err)
				default:
				}
				end()
				if h := <-next; h.code != "message" || h.body != "two" {
					s.Errorf("%s: got %s %q (%v), want the second message", id, h.code, h.body, h.err)
				}
				connection.leave()
				c.Close()
			}
		}
	})
}
