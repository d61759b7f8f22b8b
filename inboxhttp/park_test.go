package inboxhttp_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
)

// A parked long poll looks the same to its client.

// answers lets clients wait and ends each wait in each way. It returns the answers by
// name.
func answers(s *server, parked bool) map[string]answer {
	all := make(map[string]answer)
	ends := map[string]func(id string){
		"a message":        func(id string) { s.send("bøb %", id, "hello é") },
		"bytes":            func(id string) { s.send("bob", id, "\xff\x00") },
		"an empty message": func(id string) { s.send("bob", id, "") },
		"replaced":         func(id string) { s.start(request{id: id, query: "?after=0&wait=1"}) },
		"closed":           func(id string) { s.do(request{method: http.MethodDelete, id: id}) },
		"nothing":          func(string) {},
	}
	type waiting struct {
		*rawClient
		name, id, end string
		closes        bool
	}
	var clients []waiting
	for end := range ends {
		for _, query := range []string{"?x", "?after=0", "?limit=5"} {
			if end == "nothing" {
				query += "&wait=1"
			}
			for _, more := range []string{"", "Accept: application/json\r\n", "Connection: close\r\n", "Origin: https://example.com\r\n", "Origin: https://example.com\r\nAccept: application/json\r\nConnection: close\r\n"} {
				name := fmt.Sprintf("%s, GET %s, %q", end, query, more)
				w := waiting{s.rawClient(), name, fmt.Sprintf("%x", name), end, strings.Contains(more, "close")}
				w.ask(w.id, query, more)
				s.store.untilReceivers(w.id, 1, nil)
				clients = append(clients, w)
			}
		}
	}
	if parked {
		inboxtest.Until(s, "all are parked", func() bool { return int(s.parked.Load()) >= len(clients) })
	}
	for _, w := range clients {
		ends[w.end](w.id)
		a := w.answer(http.MethodGet)
		all[w.name] = a
		if w.closes {
			if _, err := w.r.ReadByte(); err != io.EOF {
				s.Errorf("%s: the connection is still open: %v", w.name, err)
			}
		} else { // the connection serves the next request
			w.ask(w.id, "?limit=0", "")
			w.answer(http.MethodGet).want(http.StatusNoContent)
		}
		w.Close()
	}
	return all
}

// A parked poll gets the same status, headers and body as one that net/http answers, from
// the same store.
func TestParkedAnswers(t *testing.T) {
	c := config{Config: origins("https://example.com")}
	overTCP(t, c, func(s *server) {
		blocks := c
		blocks.sockets, blocks.blocks, blocks.redis = true, true, s.redis
		compareAnswers(s, answers(s, true), answers(start(s, blocks), false))
	})
}

func compareAnswers(t testing.TB, parked, wants map[string]answer) {
	t.Helper()
	for name, want := range wants {
		got := parked[name]
		if got.status != want.status {
			t.Errorf("%s: %d, want %d", name, got.status, want.status)
		}
		if withoutTimes(got.body) != withoutTimes(want.body) {
			t.Errorf("%s: %q, want %q", name, got.body, want.body)
		}
		names := slices.Sorted(maps.Keys(want.header))
		if !slices.Equal(slices.Sorted(maps.Keys(got.header)), names) {
			t.Errorf("%s: the headers %q, want %q", name, slices.Sorted(maps.Keys(got.header)), names)
		}
		for _, header := range names {
			a, b := got.header[header], want.header[header]
			switch header {
			case "Inbox-Cursor":
				if len(a) != 1 || len(a[0]) != len(b[0]) {
					t.Errorf("%s: %s: %q", name, header, a)
				}
			case "Date":
				if at, err := http.ParseTime(strings.Join(a, "")); err != nil || time.Since(at) > time.Minute {
					t.Errorf("%s: %s: %q", name, header, a)
				}
			case "Content-Length":
				if len(a) != 1 || a[0] != fmt.Sprint(len(got.body)) {
					t.Errorf("%s: %s: %q for %d bytes", name, header, a, len(got.body))
				}
			default:
				if !slices.Equal(a, b) {
					t.Errorf("%s: %s: %q, want %q", name, header, a, b)
				}
			}
		}
	}
}

// withoutTimes removes what differs between two answers: cursors and times.
func withoutTimes(body string) string {
	var b strings.Builder
	for i, part := range strings.Split(body, `"`) {
		if i > 0 {
			b.WriteByte('"')
		}
		if _, err := inbox.ParseCursor(part); err == nil {
			part = "cursor"
		} else if _, err := time.Parse(time.RFC3339Nano, part); err == nil {
			part = "time"
		}
		b.WriteString(part)
	}
	return b.String()
}

// hurriedStore reports a TTL that is shorter than the real one, and counts the looks of
// waiting receivers.
type hurriedStore struct {
	inbox.Store
	ttl   time.Duration
	looks atomic.Int64
}

func (s *hurriedStore) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	b, err := s.Store.Look(ctx, p, after, limit, w)
	b.TTL = s.ttl
	if w != nil {
		s.looks.Add(1)
	}
	return b, err
}

// A waiting receiver keeps looking often enough for its inbox not to expire, on every
// transport.
func TestParkedReceiversLookAgain(t *testing.T) {
	for name, begin := range map[string]func(s *server){
		"long poll": func(s *server) { s.rawClient().ask("alice", "?after=0", "") },
		"stream":    func(s *server) { s.stream(request{id: "alice"}) },
		"socket":    func(s *server) { s.socket("alice", "") },
	} {
		t.Run(name, func(t *testing.T) {
			hurried := &hurriedStore{ttl: 20 * time.Millisecond}
			s := start(t, config{sockets: true, open: func(tb testing.TB, l inbox.Limits) inbox.Store {
				hurried.Store = openMemory(tb, l)
				return hurried
			}})
			begin(s)
			inboxtest.Until(t, "the connection is parked", func() bool { return s.parked.Load() > 0 })
			looks := hurried.looks.Load()
			inboxtest.Until(t, "the receiver has looked again", func() bool { return hurried.looks.Load() > looks+5 })
		})
	}
}

// A drain ends a waiting poll with requests behind it: the poll is answered, and its
// answer says that the connection closes.
func TestDrainWithPipelinedRequests(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		c := s.rawClient()
		c.wait("alice", "", true)
		c.write(plain(http.MethodPost, "?to=alice", "bob", "never read"))
		s.drain()
		all, _ := io.ReadAll(c.r) // until the server closes
		text := string(all)
		if !strings.HasPrefix(text, "HTTP/1.1 503 ") || !strings.Contains(text, "\r\nConnection: close\r\n") ||
			!strings.Contains(text, `"draining"`) || strings.Count(text, "HTTP/1.1") != 1 {
			s.Errorf("got %q", text)
		}
		if held := s.held("alice"); held > 0 {
			s.Errorf("an unanswered request sent %d messages", held)
		}
	})
}

// If more long polls arrive than may wait in their handlers, all of them wait and get
// their messages.
func TestManyLongPollsAtOnce(t *testing.T) {
	const many = 600
	s := start(t, config{sockets: true})
	clients := make([]*rawClient, many)
	id := func(i int) string { return fmt.Sprintf("alice-%d", i) }
	for i := range clients {
		clients[i] = s.rawClient()
		clients[i].ask(id(i), "?after=0", "")
	}
	for i, c := range clients {
		s.store.untilReceivers(id(i), 1, nil)
		s.send("bob", id(i), "hello "+id(i))
		if a := c.answer(http.MethodGet); a.status != http.StatusOK || a.body != "hello "+id(i) {
			t.Fatalf("%d of %d: %d, %q", i, many, a.status, a.body)
		}
		c.Close()
	}
	inboxtest.Until(t, "all handlers have returned", func() bool { return s.inside.Load() == 0 })
}
