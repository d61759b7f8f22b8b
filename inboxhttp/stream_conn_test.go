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

// Connections of streams fail in all the ways they do on the internet.

// readStream reads the header of the answer to a stream request.
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

// until returns the next event with this name.
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

// Bytes after the request for a stream are ignored: the stream is the last answer on its
// connection.
func TestStreamIgnoresLaterBytes(t *testing.T) {
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

// Nor do they keep the server from noticing that the client has left, where the kernel
// reports it.
func TestStreamLeftAfterLaterBytes(t *testing.T) {
	for _, way := range leavings {
		t.Run(way.name, func(t *testing.T) {
			aloneOverEach(t, []wire{tcp, twoServers}, config{}, func(s *server) {
				s.noLeaks(func() {
					c := s.rawClient()
					c.streamAndJunk()
					s.untilHeld("alice", 0) // after a reset, the last message read stays
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

// streamAndJunk opens a stream with junk after its request and sends more once the stream
// has begun.
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

// However clients leave, the server keeps nothing of them, and later messages stay in the
// inbox.
func TestAbandonedEventStreams(t *testing.T) {
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

// A client that closes between the look and the write has not received the message: it
// stays.
func TestStreamClientLeavesDuringDelivery(t *testing.T) {
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
					s.Errorf("%+v was written to a client that had left", e)
				}
				s.settle()
				s.poll("alice").wantMessage("bob", "precious")
			})
		})
	}
}

// A shutdown ends all parked connections in order.
func TestShutdownEndsParkedConnections(t *testing.T) {
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

// It also ends idle connections that were handed back.
func TestShutdownEndsIdleConnections(t *testing.T) {
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
