package inboxhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
)

// Section 5: streams over time.

var bubbles = streamWires[:2]

// A silent stream carries a comment every 15 seconds for as long as it lasts.
func TestStreamHeartbeat(t *testing.T) {
	overEach(t, bubbles, config{}, func(s *server) {
		e := s.stream(request{id: "alice"})
		e.next() // the first comment
		last := time.Now()
		for i := range 100 {
			event, ok := e.next()
			if !ok {
				s.Fatalf("after %d comments the stream ended: %v", i, e.err)
			}
			if event.kind != aComment || time.Since(last) != 15*time.Second {
				s.Fatalf("got %+v after %v of silence", event, time.Since(last))
			}
			last = time.Now()
		}
		s.send("bob", "alice", "still there")
		e.wantMessages("bob", "still there")
	})
}

// Messages arrive immediately after pauses of any length.
func TestStreamPauses(t *testing.T) {
	overEach(t, bubbles, config{}, func(s *server) {
		for _, query := range []string{"", "?after=0"} {
			e := s.stream(request{id: "alice", query: query})
			for seconds := range 60 {
				time.Sleep(time.Duration(seconds) * time.Second)
				begin := time.Now()
				s.send("bob", "alice", fmt.Sprint("after ", seconds))
				e.wantMessages("bob", fmt.Sprint("after ", seconds))
				if took := time.Since(begin); took > 0 {
					s.Errorf("a message took %v", took)
				}
				if query != "" {
					s.get("alice", "?limit=0&after="+e.lastID)
				}
			}
			synctest.Wait() // leaving before the last pop is acknowledged would repeat it
			e.left()
		}
	})
}

// The inbox does not expire while a stream is open, whichever is longer, its TTL or the
// pause between comments. However the stream ends, the inbox lives for a whole TTL from
// then on.
func TestStreamExpiry(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
		t.Run(fmt.Sprint(ttl), func(t *testing.T) {
			overEach(t, bubbles, config{limits: inbox.Limits{TTL: ttl}}, func(s *server) {
				e := s.stream(request{id: "alice"})
				time.Sleep(5*time.Minute + ttl/2 - 1)
				s.send("bob", "alice", "after many lives")
				e.wantMessages("bob", "after many lives")
				time.Sleep(ttl/2 - 1) // just before it looks again
				e.left()
				wantLife(s, "alice", ttl)
			})
		})
	}
}

func TestStreamExpiryAfterADrain(t *testing.T) {
	overEach(t, bubbles, config{}, func(s *server) {
		e := s.stream(request{id: "alice"})
		time.Sleep(10*time.Minute - 1)
		s.handler.Drain()
		e.wantEnd("draining")
		synctest.Wait()
		wantLife(s, "alice", time.Minute)
	})
}

// A client that does not read is dropped after 10 s. Its messages stay, and its inbox
// lives for a whole TTL from then on. Nothing here buffers between the two.
func TestStreamStuck(t *testing.T) {
	for _, query := range []string{"", "?after=0"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				c := s.rawClient()
				go c.ask("alice", query, "Accept: text/event-stream\r\n")
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					s.Fatal(err)
				}
				source := eventSource{in: bufio.NewReader(resp.Body)}
				if _, err := source.next(); err != nil {
					s.Fatal(err)
				}
				time.Sleep(7 * time.Second) // the client no longer reads
				s.send("bob", "alice", "precious")
				synctest.Wait()
				begin := time.Now()
				if _, err := io.WriteString(c.Conn, "x"); err == nil { // the server still reads, so the stream is open
					if s.inside.Load() == 0 {
						s.Error("the stream has ended already")
					}
				}
				for s.inside.Load() > 0 {
					time.Sleep(time.Second / 2)
				}
				if took := time.Since(begin); took < 9*time.Second || took > 11*time.Second {
					s.Errorf("dropped after %v", took)
				}
				wantLife(s, "alice", time.Minute-(time.Since(begin)-10*time.Second))
			})
			inBubble(t, config{}, func(s *server) { // stuck from the start
				s.open("alice")
				s.send("bob", "alice", "precious")
				c := s.rawClient()
				c.ask("alice", query, "Accept: text/event-stream\r\n")
				time.Sleep(11 * time.Second)
				if n := s.inside.Load(); n != 0 {
					t.Errorf("%d streams after 11 s", n)
				}
				s.getJSON("alice", "?after=0").wantBodies("precious")
			})
		})
	}
}

// Over HTTP/2, a client that does not read fills its window and is dropped. Other streams
// of its connection continue.
func TestStreamStuckHTTP2(t *testing.T) {
	inBubble(t, config{http2: true, limits: inbox.Limits{Bytes: 64 << 20, Messages: 1000}}, func(s *server) {
		resp, err := s.client.Do(streamRequest(s, "alice", "?after=0"))
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close() // never read
		other := s.stream(request{id: "other"})
		const many = 200 // times 64 KiB: more than a stream's window
		for i := range many {
			s.send("bob", "alice", string(make([]byte, 64<<10)))
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		if n := s.inside.Load(); n != 2 {
			s.Fatalf("%d streams, want 2", n)
		}
		time.Sleep(11 * time.Second)
		if n := s.inside.Load(); n != 1 {
			s.Errorf("%d streams after 11 s, want 1", n)
		}
		s.send("bob", "other", "hello")
		other.wantMessages("bob", "hello")
		if held := s.held("alice"); held != many {
			s.Errorf("%d messages are left, want %d", held, many)
		}
	})
}
