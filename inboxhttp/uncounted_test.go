package inboxhttp_test

import (
	"net/http"
	"testing"

	"inbox/internal/limit"
)

// Section 9: ways around the limits of an address.

// A socket that floods acknowledgements is closed. No other limit would stop it.
func TestSocketThatFloodsAcknowledgements(t *testing.T) {
	c := limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 2}})
	inBubble(t, c, func(s *server) {
		alice := s.dialSocket(handshake{id: "alice"})
		cursor := alice.wantOpened(false)
		for range 21 { // ten for each request
			alice.say(`{"type":"ack","after":%q}`, cursor)
		}
		alice.wantClose(4429)
	})
}

// The same holds for a socket that floods pings, or fragments of a message that never
// ends.
func TestSocketThatFloodsEmptyFrames(t *testing.T) {
	for name, endless := range map[string][]byte{"pings": frame(fin|opPing, "x"), "pieces": frame(0, "")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 2}}), func(s *server) {
				alice := s.dialSocket(handshake{id: "alice"})
				alice.wantOpened(false)
				if name == "pieces" {
					alice.write(frame(opText, ""))
				}
				for range 21 {
					alice.write(endless)
				}
				for {
					f, ok := alice.next()
					if !ok || f.op == opClose {
						if code := closeCode(f); code != 4429 {
							s.Errorf("the socket ended with %d", code)
						}
						return
					}
				}
			})
		})
	}
}

// A new inbox counts even if its peer was admitted earlier: on a parked connection, or on
// a socket whose inbox was closed.
func TestNewLivesOfOneAddress(t *testing.T) {
	for _, w := range []wire{tcp, overTLS} {
		t.Run(w.name, func(t *testing.T) {
			c := limited(limit.Config{Inboxes: limit.Rate{PerSecond: 1e-3, Burst: 2}})
			c.sockets, c.tls = true, w.config.tls
			s := start(t, c)
			alice := s.rawClient()
			for range 2 {
				alice.wait("alice", "", true)
				s.do(request{id: "alice", method: http.MethodDelete}).want(http.StatusNoContent)
				alice.answer(http.MethodGet).wantProblem("closed")
			}
			alice.ask("alice", "", "")
			alice.answer(http.MethodGet).wantLimited()
		})
	}
}
