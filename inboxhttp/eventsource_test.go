package inboxhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox/internal/inboxtest"
)

// A stream client written from the HTML standard, 9.2, and independent of the server's
// code.

// eventSource parses an event stream.
type eventSource struct {
	in     *bufio.Reader
	began  bool
	wasCR  bool   // a line feed then belongs to the line before
	idBuf  string // the last id field
	lastID string // the last id that was dispatched
}

// sourceEvent is one block of a stream: an event, a comment, or a block that dispatches
// nothing but may set the last event id.
type sourceEvent struct {
	kind, name, data, id string
}

const (
	anEvent   = "event"
	aComment  = "comment"
	emptyBody = "block without data"
)

// next returns the next block. A block without a final empty line is discarded.
func (s *eventSource) next() (sourceEvent, error) {
	name, data, blank := "", "", true
	for {
		line, err := s.line()
		if err != nil {
			return sourceEvent{}, err
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && blank:
		case line == "":
			s.lastID = s.idBuf
			if data == "" {
				return sourceEvent{kind: emptyBody, id: s.lastID}, nil
			}
			return sourceEvent{anEvent, orElse(name, "message"), strings.TrimSuffix(data, "\n"), s.lastID}, nil
		case field == "":
			if blank {
				return sourceEvent{kind: aComment, data: value}, nil
			}
		case field == "event":
			name, blank = value, false
		case field == "data":
			data, blank = data+value+"\n", false
		case field == "id":
			if !strings.Contains(value, "\x00") {
				s.idBuf = value
			}
			blank = false
		}
	}
}

// line reads a line that ends with CR, LF or both.
func (s *eventSource) line() (string, error) {
	if !s.began {
		s.began = true
		if bom, err := s.in.Peek(3); err == nil && string(bom) == "\ufeff" {
			s.in.Discard(3)
		}
	}
	var line []byte
	for {
		b, err := s.in.ReadByte()
		switch {
		case err != nil:
			return "", err
		case b == '\n' && s.wasCR:
			s.wasCR = false
			continue
		case b == '\n' || b == '\r':
			s.wasCR = b == '\r'
			return string(line), nil
		}
		s.wasCR = false
		line = append(line, b)
	}
}

// The parser itself passes the examples of the standard.
func TestEventSource(t *testing.T) {
	message := func(data, id string) sourceEvent { return sourceEvent{anEvent, "message", data, id} }
	for text, want := range map[string][]sourceEvent{
		"data: YHOO\ndata: +2\ndata: 10\n\n": {message("YHOO\n+2\n10", "")},
		": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n": {
			{aComment, "", "test stream", ""}, message("first event", "1"), message("second event", ""), message(" third event", "")},
		"data\n\ndata\ndata\n\ndata:":                       {message("", ""), message("\n", "")},
		"data:test\n\ndata: test\n\n":                       {message("test", ""), message("test", "")},
		"event: add\rdata: 1\r\revent: x\r\ndata:2\r\n\r\n": {{anEvent, "add", "1", ""}, {anEvent, "x", "2", ""}},
		"\ufeffdata: x\n\n":                                 {message("x", "")},
		"id: 7\n\ndata: x\n\n":                              {{emptyBody, "", "", "7"}, message("x", "7")},
		"id: 7\n\nid: a\x00b\ndata: x\n\n":                  {{emptyBody, "", "", "7"}, message("x", "7")},
		"id: 7\ndata: x\n":                                  nil,
		":\n\n:\n\n":                                        {{aComment, "", "", ""}, {aComment, "", "", ""}},
		"retry: 5\nfoo: bar\ndata: x:y\n\n":                 {message("x:y", "")},
		"event: x\n\ndata: y\n\n":                           {{emptyBody, "", "", ""}, message("y", "")},
	} {
		s := eventSource{in: bufio.NewReader(strings.NewReader(text))}
		var got []sourceEvent
		for e, err := s.next(); err == nil; e, err = s.next() {
			got = append(got, e)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

// events is an open stream.
type events struct {
	*server
	header http.Header
	proto  int
	leave  context.CancelFunc
	came   chan sourceEvent // closed at the end
	err    error            // the error it ended with; io.EOF is an orderly end
	lastID string           // the id with which an EventSource would reconnect
}

// stream opens a stream and fails the test if the answer is anything else.
func (s *server) stream(r request) *events {
	s.Helper()
	e, err := s.tryStream(r)
	if err != nil {
		s.Fatal(err)
	}
	return e
}

func (s *server) tryStream(r request) (*events, error) {
	ctx, leave := context.WithCancel(s.Context())
	s.Cleanup(leave)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/inbox"+r.query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	maps.Copy(req.Header, r.header)
	req.SetBasicAuth(r.id, orElse(r.password, passwordOf(r.id)))
	client := r.client
	if client == nil {
		client = s.client
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		a, err := read(s, resp)
		resp.Body.Close()
		return nil, errors.Join(fmt.Errorf("the stream was answered with %d %s", a.status, a.body), err)
	}
	e := &events{server: s, header: resp.Header, proto: resp.ProtoMajor, leave: leave, came: make(chan sourceEvent, 1<<12)}
	go func() {
		defer close(e.came)
		defer resp.Body.Close()
		source := eventSource{in: bufio.NewReader(resp.Body)}
		for {
			event, err := source.next()
			if err != nil {
				e.err = err
				return
			}
			e.came <- event
		}
	}()
	return e, nil
}

// next returns the next block, or false at the end.
func (e *events) next() (sourceEvent, bool) {
	e.Helper()
	select {
	case event, ok := <-e.came:
		if ok && event.kind != aComment {
			e.lastID = event.id
		}
		return event, ok
	case <-time.After(e.patience()):
		e.Fatalf("nothing arrived in %v", e.patience())
		return sourceEvent{}, false
	}
}

// event returns the next event that an EventSource would dispatch.
func (e *events) event() (sourceEvent, bool) {
	e.Helper()
	for deadline := time.Now().Add(e.patience()); time.Now().Before(deadline); {
		if event, ok := e.next(); !ok || event.kind == anEvent {
			return event, ok
		}
	}
	e.Fatal("there are only comments")
	return sourceEvent{}, false
}

// left leaves the stream and returns when the server can know it.
func (e *events) left() {
	e.Helper()
	e.leave()
	for range e.came { // the connection or stream is closed at the end
	}
	e.settle()
}

// settle waits until the server has noticed the end of a stream. Over HTTP/1, where it
// can ask the kernel, there is nothing to wait for.
func (e *events) settle() {
	e.Helper()
	switch {
	case e.bubble:
		synctest.Wait()
	case e.proto == 2 || strings.HasPrefix(e.url, "https:"):
		inboxtest.Until(e, "the handler has returned", func() bool { return e.inside.Load() == 0 })
	}
}

// wantMessages fails the test unless exactly these messages are next.
func (e *events) wantMessages(from string, bodies ...string) {
	e.Helper()
	for _, body := range bodies {
		event, ok := e.event()
		if !ok || event.name != "message" {
			e.Fatalf("got %+v (%v), want the message %.50q", event, ok, body)
		}
		m := e.parse(event)
		if m.From != from || m.content() != body || m.Cursor != event.id {
			e.Fatalf("got %.200q with the id %s, want %.50q from %s", event.data, event.id, body, from)
		}
	}
}

func (e *events) parse(event sourceEvent) (m message) {
	e.Helper()
	dec := json.NewDecoder(strings.NewReader(event.data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		e.Fatalf("%s: %v", event.data, err)
	}
	return m
}

// wantCode fails the test unless this event is next.
func (e *events) wantCode(code string) {
	e.Helper()
	if event, ok := e.event(); !ok || event.name != code || event.data != `{"code":"`+code+`"}` {
		e.Fatalf("got %+v (%v), want %s", event, ok, code)
	}
}

// wantEnd fails the test unless this event is next, followed by an orderly end.
func (e *events) wantEnd(code string) {
	e.Helper()
	e.wantCode(code)
	if event, ok := e.next(); ok || e.err != io.EOF {
		e.Fatalf("got %+v, %v, want the end", event, e.err)
	}
}

// streamWires are the paths between a stream and its client: a handler over each version
// of HTTP, and parked TCP.
var streamWires = []wire{
	memory,
	{name: "memory, HTTP/2", bubble: true, config: config{http2: true}},
	tcp,
	overTLS,
	{name: "TLS, HTTP/2", config: config{sockets: true, tls: true, http2: true}},
	twoServers,
}
