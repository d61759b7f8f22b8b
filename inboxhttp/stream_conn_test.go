package inboxhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"inbox/internal/inboxtest"
)

// Connections of streams, as they are on the internet.

// readStream reads the answer of a request for a stream.
func (c *rawClient) readStream() *eventSource {
	c.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		c.Fatalf("%d %s", resp.StatusCode, resp.Header)
	}
	return &eventSource{in: bufio.NewReader(resp.Body)}
}

// until returns the next event of that name.
func (s *eventSource) until(c *rawClient, name string) sourceEvent {
	c.Helper()
	for {
		e, err := s.next()
		if err != nil {
			c.Fatalf("%v, want %s", err, name)
		}
		if e.name == name {
			return e
		}
	}
}

const acceptStream = "Accept: text/event-stream\r\n"

// What a client sends behind its request is no request: the stream is the
// connection's last.
func TestStreamWithJunkBehindIt(t *testing.T) {
	overEach(t, []wire{tcp, overTLS, twoServers}, config{}, func(s *server) {
		c := s.rawClient()
		source := c.streamAndJunk()
		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		source.until(c, "closed")
		if e, err := source.next(); err != io.EOF {
			s.Errorf("got %+v, %v, want the end", e, err)
		}
	})
}

// Nor does it hide that the client leaves, where the kernel tells.
func TestStreamLeftWithJunkBehindIt(t *testing.T) {
	for _, way := range leavings {
		t.Run(way.name, func(t *testing.T) {
			aloneOverEach(t, []wire{tcp, twoServers}, config{}, func(s *server) {
				s.noLeaks(func() {
					c := s.rawClient()
					c.streamAndJunk()
					s.untilHeld("alice", 0) // of a client that resets before, what it read last stays
					way.leave(c)
					if way.name == "half-closes" {
						io.Copy(io.Discard, c.Conn)
					}
					c.Close()
					s.client.CloseIdleConnections()
				})
				s.send("bob", "alice", "three")
				s.poll("alice").wantMessage("bob", "three")
			})
		})
	}
}

// streamAndJunk opens a stream with junk behind its request, and more of it when
// it has begun.
func (c *rawClient) streamAndJunk() *eventSource {
	c.Helper()
	junk := plain(http.MethodDelete, "", "alice", "") + plain(http.MethodPost, "?to=alice", "bob", "junk") + "\x00\xff junk\r\n"
	c.write(strings.Replace(plain(http.MethodGet, "", "alice", ""), "\r\n\r\n", "\r\n"+acceptStream+"\r\n", 1) + junk)
	source := c.readStream()
	for _, body := range []string{"one", "two"} {
		c.send("bob", "alice", body)
		if e := source.until(c, "message"); !strings.Contains(e.data, `"`+body+`"`) {
			c.Errorf("got %s", e.data)
		}
		c.write(junk)
	}
	return source
}

// However clients leave, nothing is left of them, and what comes then stays.
func TestStreamsLeft(t *testing.T) {
	aloneOverEach(t, streamWires[2:], config{}, func(s *server) {
		const many = 60
		s.noLeaks(func() {
			for i := range many {
				e := s.stream(request{id: fmt.Sprint("alice-", i), query: []string{"", "?after=0"}[i%2], client: s.client})
				e.next()
				e.left()
			}
			s.client.CloseIdleConnections()
		})
		for i := range many {
			s.send("bob", fmt.Sprint("alice-", i), "later")
			s.poll(fmt.Sprint("alice-", i)).wantMessage("bob", "later")
		}
	})
}

// PROTOCOL, section 4: "It is removed only after the answer was flushed to a
// connection that still lives." Between the look that finds a message and the
// write, a client closes: it has not got it.
func TestStreamLeftAtTheMomentOfDelivery(t *testing.T) {
	for _, way := range leavings {
		t.Run(way.name, func(t *testing.T) {
			overEach(t, []wire{tcp, overTLS, twoServers}, config{}, func(s *server) {
				c := s.rawClient()
				c.ask("alice", "", acceptStream)
				source := c.readStream()
				if _, err := source.next(); err != nil {
					s.Fatal(err)
				}
				left := make(chan struct{})
				s.store.hook(func(id string, found int) {
					if found > 0 {
						way.leave(c)
						c.untilKnown()
						s.store.hook(nil)
						close(left)
					}
				})
				s.send("bob", "alice", "precious")
				<-left
				if e, err := source.next(); err == nil {
					s.Errorf("%+v came to a client that had left", e)
				}
				s.settle()
				s.poll("alice").wantMessage("bob", "precious")
			})
		})
	}
}

// A server that stops ends all that waits without it knowing, in order.
func TestShutdownEndsWhatIsParked(t *testing.T) {
	s := start(t, config{sockets: true})
	noLeaks(t, func() {
		const each = 20
		var polls []*pending
		var streams []*events
		var sockets []*webSocket
		for i := range each {
			polls = append(polls, s.wait(fmt.Sprint("poll-", i), "?after=0"))
			streams = append(streams, s.stream(request{id: fmt.Sprint("stream-", i)}))
			sockets = append(sockets, s.socket(fmt.Sprint("socket-", i), ""))
		}
		inboxtest.Until(t, "all are parked", func() bool { return s.parked.Load() >= 3*each })
		s.handler.Drain()
		shut := make(chan error, 1)
		go func() { shut <- s.http.Shutdown(context.Background()) }()
		for i := range each {
			polls[i].answer().wantProblem("draining")
			streams[i].wantEnd("draining")
			sockets[i].wantClose(1012)
		}
		s.client.CloseIdleConnections()
		if err := <-shut; err != nil {
			t.Error(err)
		}
	})
}

// Connections that were handed back and are idle end with the drain, too.
func TestShutdownEndsWhatIsIdle(t *testing.T) {
	s := start(t, config{sockets: true})
	c := s.rawClient()
	c.wait("alice", "", true)
	s.send("bob", "alice", "one")
	c.answer(http.MethodGet).wantMessage("bob", "one")
	s.handler.Drain()
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the idle connection ended with %v", err)
	}
}
