package inboxhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"inbox"
)

// Section 5: the events of a stream.

func lastEventID(id string) http.Header { return http.Header{"Last-Event-Id": {id}} }

// The exact bytes, in an order that a line reader can use.
func TestStreamForm(t *testing.T) {
	overEach(t, streamWires, config{Config: origins("https://example.com")}, func(s *server) {
		s.open("alice")
		s.send("bøb b", "alice", "one\r\ntwo\n\u2028\u0000</script>", "\xff\xfe", "")
		want := s.getJSON("alice", "?after=0&limit=10&wait=0").batch()
		e := s.stream(request{id: "alice", query: "?after=0", header: http.Header{"Origin": {"https://example.com"}}})
		for name, value := range always {
			if got := e.header[name]; !slices.Equal(got, []string{value}) {
				s.Errorf("%s: %q", name, got)
			}
		}
		for name, value := range map[string]string{"Content-Type": "text/event-stream", "Content-Length": "",
			"Access-Control-Allow-Origin": "https://example.com", "Content-Encoding": ""} {
			if got := e.header.Get(name); got != value || len(e.header[name]) > 1 {
				s.Errorf("%s: %q, want %q", name, e.header[name], value)
			}
		}
		if e.header.Get("Date") == "" {
			s.Error("no Date")
		}
		for _, m := range want.Messages {
			event, ok := e.event()
			if !ok || event.name != "message" || event.id != m.Cursor || strings.ContainsAny(event.data, "\r\n") {
				s.Fatalf("got %+v, want the message %s", event, m.Cursor)
			}
			if got := e.parse(event); got.content() != m.content() || got.From != m.From || got.Time != m.Time || (got.Body == nil) != (m.Body == nil) {
				s.Errorf("got %s, want %+v", event.data, m)
			}
		}
	})
}

// Without a position, each message is removed when it was flushed.
func TestStreamPops(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		e := s.stream(request{id: "alice"})
		e.wantMessages("bob", "one", "two")
		s.untilHeld("alice", 0)
		s.send("bob", "alice", "three")
		e.wantMessages("bob", "three")
		s.untilHeld("alice", 0)
		e.left()
		s.send("bob", "alice", "four")
		s.stream(request{id: "alice"}).wantMessages("bob", "four")
	})
}

// With a position, messages stay until another request acknowledges them, which replaces
// nobody.
func TestStreamAcknowledged(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		for _, r := range []request{{query: "?after=0"}, {header: lastEventID("0")}} {
			r.id = "alice"
			e := s.stream(r)
			e.wantMessages("bob", "one", "two")
			s.untilHeld("alice", 2)
			e.leave()
		}
		e := s.stream(request{id: "alice", query: "?after=0"})
		e.wantMessages("bob", "one")
		one := e.lastID
		e.wantMessages("bob", "two")
		s.get("alice", "?limit=0&after="+one).want(http.StatusNoContent)
		if held := s.held("alice"); held != 1 {
			s.Errorf("%d messages, want 1", held)
		}
		s.send("bob", "alice", "three")
		e.wantMessages("bob", "three")
		s.get("alice", "?limit=0&after="+e.lastID).want(http.StatusNoContent)
		s.send("bob", "alice", "four")
		e.wantMessages("bob", "four")
		s.untilHeld("alice", 1)
	})
}

// Last-Event-ID takes precedence over after, so a URL may contain where the stream first
// began.
func TestStreamResume(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", numbers(30)...)
		e := s.stream(request{id: "alice", query: "?after=0"})
		e.wantMessages("bob", numbers(10)...)
		for i := 10; i < 30; i += 5 {
			e.leave()
			e = s.stream(request{id: "alice", query: "?after=0", header: lastEventID(e.lastID)})
			e.wantMessages("bob", numbers(i + 5)[i:]...)
			s.untilHeld("alice", 30-i)
		}
		e.leave()
		e = s.stream(request{id: "alice", header: lastEventID(e.lastID)})
		s.send("bob", "alice", "the next")
		e.wantMessages("bob", "the next")
	})
}

// Wherever a stream breaks off, its client misses nothing when it resumes: no id is sent
// ahead of its message.
func TestStreamBreaksAnywhere(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two", "three")
		s.get("alice", "?limit=0&after="+s.get("alice", "?after=0").cursor())
		all := []string{"two", "three"}
		resp, err := s.client.Do(streamRequest(s, "alice", "?after=0"))
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		var whole []byte
		for buf := make([]byte, 100); strings.Count(string(whole), "event: message") < 2 || !strings.HasSuffix(string(whole), "\n\n"); {
			n, err := resp.Body.Read(buf)
			if err != nil {
				s.Fatal(err)
			}
			whole = append(whole, buf[:n]...)
		}
		for n := range whole {
			source, dispatched := eventSource{in: bufio.NewReader(strings.NewReader(string(whole[:n])))}, 0
			for e, err := source.next(); err == nil; e, err = source.next() {
				if e.kind == anEvent {
					dispatched++
				}
			}
			position := orElse(source.lastID, "0")
			b, err := s.store.Store.Look(s.Context(), s.peer("alice"), start0, 100, nil)
			if err != nil {
				s.Fatal(err)
			}
			at, err := inbox.ParseCursor(position)
			if err != nil {
				s.Fatal(err)
			}
			for i, m := range b.Messages {
				if i >= dispatched && m.Cursor.Seq <= at.Seq {
					s.Fatalf("after %q, the message %q is missing: %d were dispatched", whole[:n], all[i], dispatched)
				}
			}
		}
	})
}

func streamRequest(s *server, id, query string) *http.Request {
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+"/inbox"+query, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.SetBasicAuth(id, passwordOf(id))
	req.Header.Set("Accept", "text/event-stream")
	return req
}

// A client that received no message resumes where it began. One that received only
// draining resumes with a position of this life.
func TestStreamResumeWithoutAMessage(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		e := s.stream(request{id: "alice", query: "?after=0"})
		if event, ok := e.next(); !ok || event.kind != aComment || e.lastID != "" {
			s.Fatalf("got %+v, want a comment", event)
		}
		e.leave()
		s.send("bob", "alice", "while away")
		e = s.stream(request{id: "alice", query: "?after=0", header: lastEventID(e.lastID)})
		e.wantMessages("bob", "while away")
		s.untilHeld("alice", 1)
		s.get("alice", "?limit=0&after="+e.lastID).want(http.StatusNoContent)
		e.leave()

		e = s.stream(request{id: "alice", query: "?after=0"})
		s.drain()
		e.wantCode("draining")
		if s.get("alice", "?limit=0&after="+e.lastID).want(http.StatusNoContent).header.Get("Inbox-Reset") != "" || e.lastID == "" {
			s.Errorf("draining has the position %q, which is not of this life", e.lastID)
		}
	})
}

// Every block of a stream has data, and no comment has an empty line after it: some
// clients take either for an empty message.
func TestStreamHasNoEmptyBlocks(t *testing.T) {
	overEach(t, bubbles, config{}, func(s *server) {
		for _, query := range []string{"", "?after=0", "?after=x"} {
			resp, err := s.client.Do(streamRequest(s, "alice", query))
			if err != nil {
				s.Fatal(err)
			}
			var whole []byte
			ended := make(chan error, 1)
			go func() {
				whole, err = io.ReadAll(resp.Body)
				ended <- err
			}()
			time.Sleep(100 * time.Second) // of silence
			s.send("bob", "alice", "one", "")
			time.Sleep(100 * time.Second)
			s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
			if err := <-ended; err != nil {
				s.Fatal(err)
			}
			resp.Body.Close()
			blocks := strings.SplitAfter(string(whole), "\n\n")
			for _, block := range blocks[:len(blocks)-1] {
				if !strings.Contains("\n"+block, "\ndata: {") || !strings.Contains("\n"+block, "\nid: ") {
					s.Errorf("%q contains the block %q", query, block)
				}
			}
			comments := slices.DeleteFunc(strings.Split(string(whole), "\n"), func(line string) bool { return line != ":" })
			if n := len(comments); blocks[len(blocks)-1] != "" || n < 12 {
				s.Errorf("%q: %d comments in 200 s, and %q at the end", query, n, blocks[len(blocks)-1])
			}
		}
	})
}

// Section 5: after authentication, a stream reports no error by a status. With an invalid
// position it starts with a reset and does not pop, since its client gave a position.
func TestStreamBadPosition(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "of an earlier life")
		old := s.get("alice", "?after=0").cursor()
		s.do(request{method: http.MethodDelete, id: "alice"})
		s.open("alice")
		s.send("bob", "alice", "one")
		for _, position := range []string{"x", old, futureCursor(s, "alice"), strings.Repeat("A", 22), strings.Repeat("A", 1000), "0 ", "-1", "null"} {
			for _, r := range []request{{query: "?after=" + escape(position)}, {header: lastEventID(position)}, {query: "?after=0", header: lastEventID(position)}} {
				if r.header != nil && strings.HasSuffix(position, " ") {
					continue // a header value cannot end with a space
				}
				r.id = "alice"
				e := s.stream(r)
				e.wantCode("reset")
				e.wantMessages("bob", "one")
				e.leave()
			}
		}
		for _, query := range []string{"?after=", "?after=0&after=0", "?after=%zz", "?after=0;x"} {
			e := s.stream(request{id: "alice", query: query})
			e.wantCode("reset")
			e.wantMessages("bob", "one")
			e.leave()
		}
		e := s.stream(request{id: "alice", query: "?after=0&wait=x&limit=-1&limit=2"}) // ignored by streams
		e.wantMessages("bob", "one")
		s.untilHeld("alice", 1)
	})
}

// EventSource polyfills cannot set headers: they put Last-Event-ID into the query, in
// various spellings. Such a stream starts there and never pops.
func TestStreamPositionInTheQuery(t *testing.T) {
	all := []string{"one", "two", "three"}
	overEach(t, streamWires, config{}, func(s *server) {
		for query, want := range map[string]struct {
			reset bool
			after int // how many messages the position acknowledges
		}{
			"?lastEventId=FIRST":                      {false, 1},
			"?last-event-id=FIRST":                    {false, 1},
			"?Last-Event-ID=FIRST":                    {false, 1},
			"?LASTEVENTID=FIRST":                      {false, 1},
			"?last_event_id=FIRST":                    {false, 1},
			"?evs_last_event_id=FIRST&evs_preamble":   {false, 1},
			"?after=0&lastEventId=FIRST":              {false, 1},
			"?after=FIRST&lastEventId=SECOND":         {false, 2},
			"?after=FIRST&lastEventId=":               {false, 1},
			"?lastEventId=FIRST&lastEventId=FIRST":    {false, 1},
			"?lastEventId=&r=0.1":                     {false, 0},
			"?lastEventId=0":                          {false, 0},
			"?lastEventId=x":                          {true, 0},
			"?lastEventId=FIRST&last-event-id=SECOND": {true, 0},
			"?lastEventId=FIRST&lastEventId=SECOND":   {true, 0},
			"?lastEventId=%zz":                        {true, 0},
			"?after=FIRST&after=SECOND":               {true, 0},
			"?After=FIRST":                            {true, 0},
			"?cursor=FIRST":                           {true, 0},
			"?Inbox-Cursor=FIRST":                     {true, 0},
			"?since=FIRST":                            {true, 0},
			"?last.event.id=FIRST":                    {false, 1},
			"?lastEventId%5B%5D=FIRST":                {false, 1},
			"?X-Last-Event-ID=FIRST":                  {false, 1},
			"?last+event+id=FIRST":                    {false, 1},
			"?lastMessageId=FIRST":                    {true, 0},
			"?event_id=FIRST":                         {true, 0},
			"?since_id=FIRST":                         {true, 0},
			"?startAfter=FIRST":                       {true, 0},
			"?resumeFrom=FIRST":                       {true, 0},
		} {
			s.open("alice")
			s.send("bob", "alice", all...)
			first := s.get("alice", "?after=0").cursor()
			second := s.getJSON("alice", "?after=0&limit=2&wait=0").cursor()
			e := s.stream(request{id: "alice", query: strings.NewReplacer("FIRST", first, "SECOND", second).Replace(query)})
			if want.reset {
				e.wantCode("reset")
			}
			e.wantMessages("bob", all[want.after:]...)
			e.left()
			if held := s.held("alice"); held != 3-want.after {
				s.Errorf("%s: %d messages are left, want %d", query, held, 3-want.after)
			}
			s.do(request{method: http.MethodDelete, id: "alice"})
		}
		e := s.stream(request{id: "alice", header: http.Header{"Last-Event-Id": {""}}})
		s.send("bob", "alice", "one")
		e.wantMessages("bob", "one")
		e.left()
		if held := s.held("alice"); held != 1 {
			s.Errorf("a stream with an empty Last-Event-ID left %d messages, want 1", held)
		}
	})
}

// A poll with a stream's position does not pop.
func TestPollWithThePositionOfAStream(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for _, query := range []string{"?lastEventId=0", "?lastEventId=", "?last-event-id=x", "?Last-Event-ID=0&wait=0", "?After=0", "?cursor=x", "?since=0", "?x-last-event-id=0", "?eventId=0", "?since_id=0", "?limit=0&lastEventId=0"} {
			for _, accept := range []string{"*/*", "application/json"} {
				s.do(request{id: "alice", query: query, header: http.Header{"Accept": {accept}}}).wantProblem("bad-request")
			}
		}
		s.do(request{id: "alice", header: lastEventID("0")}).wantProblem("bad-request")
		s.do(request{id: "alice", query: "?after=0", header: lastEventID("0")}).wantMessage("bob", "precious")
		s.do(request{id: "alice", query: "?after=0&lastEventId=0"}).wantMessage("bob", "precious")
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// A request without valid credentials gets a status instead of a stream.
func TestStreamUnauthorized(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice", "bob")
		accept := http.Header{"Accept": {"text/event-stream"}}
		for want, r := range map[string]request{
			"unauthorized":         {id: "alice", password: "guessed"},
			"bad-credentials":      {id: "alice", password: strings.Repeat("x", 257)},
			"bad-request":          {id: "alice", body: strings.NewReader("x")},
			"forbidden-navigation": {id: "alice", header: http.Header{"Sec-Fetch-Mode": {"no-cors"}}},
		} {
			r.header = withHeader(accept, r.header)
			s.do(r).wantProblem(want)
		}
		s.do(request{header: accept}).want(http.StatusUnauthorized).wantProblem("unauthorized")
		s.do(request{method: http.MethodHead, id: "alice", header: accept}).want(http.StatusMethodNotAllowed)
	})
}

func TestStreamServerFull(t *testing.T) {
	overEach(t, streamWires[:2], config{limits: inbox.Limits{Inboxes: 1}}, func(s *server) {
		s.open("alice")
		s.do(request{id: "bob", header: http.Header{"Accept": {"text/event-stream"}}}).wantProblem("server-full")
	})
}

func withHeader(a, b http.Header) http.Header {
	all := a.Clone()
	maps.Copy(all, b)
	return all
}

// replaced, closed and draining end the stream.
func TestStreamEnds(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		for _, query := range []string{"", "?after=0"} {
			older := s.stream(request{id: "alice", query: query})
			newer := s.stream(request{id: "alice", query: query})
			older.wantEnd("replaced")
			s.send("bob", "alice", "for the newer")
			newer.wantMessages("bob", "for the newer")
			s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
			newer.wantEnd("closed")
			if s.alive("alice") {
				s.Error("the inbox exists after it was closed")
			}
		}
		e := s.stream(request{id: "alice"})
		s.drain()
		e.wantEnd("draining")
		s.send("bob", "alice", "for the next server")
		if held := s.held("alice"); held != 1 {
			s.Errorf("%d messages, want 1", held)
		}
	})
}

// A stream to a draining server is a 200 with the event draining. Messages sent before it
// have left the inbox, and the others stay.
func TestStreamWhileDraining(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.open("alice", "bob")
		s.send("carol", "alice", "one", "two")
		s.send("carol", "bob", "one", "two")
		s.drain()
		for id, query := range map[string]string{"alice": "", "bob": "?after=0"} {
			e := s.stream(request{id: id, query: query})
			given := 0
			event, ok := e.event()
			for ; ok && event.name == "message"; event, ok = e.event() {
				given++
			}
			if !ok || event.name != "draining" {
				s.Fatalf("got %+v, want draining", event)
			}
			if event, ok = e.next(); ok {
				s.Errorf("got %+v after draining", event)
			}
			if query != "" {
				given = 0
			}
			if held := s.held(id); held != 2-given {
				s.Errorf("%d messages are left, but stream%[3]s received %[2]d of 2", held, given, query)
			}
		}
	})
}

// When a message and an end arrive together, the stream may carry both or only the end,
// but it never loses the message.
func TestStreamEndsAfterMessages(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		for i := range s.times(20) {
			id := fmt.Sprint("alice-", i)
			e := s.stream(request{id: id})
			e.next()
			sends := s.start(sending("bob", id, "precious"))
			newer := s.stream(request{id: id, query: "?after=0"})
			sends.answer().want(http.StatusOK)
			event, _ := e.event()
			if event.name == "message" {
				e.wantEnd("replaced")
			} else {
				newer.wantMessages("bob", "precious")
			}
			newer.leave()
		}
	})
}

// Over HTTP/1.0 a stream is not chunked and ends with the connection.
func TestStreamOverHTTP10(t *testing.T) {
	overEach(t, []wire{memory, tcp, twoServers}, config{}, func(s *server) {
		c := s.rawClient()
		go io.WriteString(c.Conn, strings.Replace(plain(http.MethodGet, "", "alice", ""), "HTTP/1.1\r\n", "HTTP/1.0\r\nAccept: text/event-stream\r\n", 1))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != http.StatusOK || len(resp.TransferEncoding) > 0 || !resp.Close {
			s.Fatalf("%v, %v", resp, err)
		}
		source := eventSource{in: bufio.NewReader(resp.Body)}
		if e, err := source.next(); err != nil || e.kind != aComment {
			s.Errorf("%+v, %v", e, err)
		}
		s.send("bob", "alice", "hello")
		if e, err := source.next(); err != nil || e.name != "message" || !strings.Contains(e.data, "hello") {
			s.Errorf("%+v, %v", e, err)
		}
		s.do(request{method: http.MethodDelete, id: "alice"})
		if e, err := source.next(); err != nil || e.name != "closed" {
			s.Errorf("%+v, %v", e, err)
		}
		if e, err := source.next(); err != io.EOF {
			s.Errorf("%+v, %v", e, err)
		}
		c.Close()
	})
}
