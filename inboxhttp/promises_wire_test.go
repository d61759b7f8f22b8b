package inboxhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
)

// Promises about the wire.
var onTheWire = []promise{
	{name: "no message, an empty message and a replacement can be told apart", run: func(s *server) {
		s.poll("alice").want(http.StatusNoContent).wantHeader("X-From", "")
		s.send("bob", "alice", "")
		s.poll("alice").want(http.StatusOK, "").wantHeader("X-From", "bob")
		older := s.wait("alice", "")
		s.wait("alice", "").leave()
		older.answer().wantProblem("replaced")
	}},
	{name: "a repeated send arrives once, with a cursor and a time", run: func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.wantReplayed(true, "bob", "alice", "k", "offer")
		messages := s.getJSON("alice", "?after=0").wantBodies("offer").batch().Messages
		if _, err := time.Parse(time.RFC3339Nano, messages[0].Time); messages[0].Cursor == "" || err != nil {
			s.Errorf("%+v, %v", messages[0], err)
		}
	}},
	{name: "an answer holds many messages", run: func(s *server) {
		s.open("alice")
		begin := time.Now()
		s.send("bob", "alice", numbered(20)...)
		s.getJSON("alice", "?after=0").wantBodies(numbered(20)...)
		s.wantElapsed(begin, 0)
	}},
	{name: "each mistake has its own status", run: func(s *server) {
		s.open("alice")
		s.do(request{method: http.MethodPatch, id: "alice"}).want(http.StatusMethodNotAllowed)
		s.do(request{method: http.MethodHead, id: "alice"}).want(http.StatusMethodNotAllowed)
		form := sending("bob", "alice", strings.Repeat("a=b&", 20_000))
		form.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		s.do(form).want(http.StatusRequestEntityTooLarge)
		conn := s.raw()
		io.WriteString(conn, "POST /inbox?to=alice HTTP/1.1\r\nHost: x\r\nAuthorization: "+basic("bob:b2")+"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		s.readAnswer(bufio.NewReader(conn), http.MethodPost).want(http.StatusBadRequest) // not 413
	}},
	{name: "ids may be in any script", run: func(s *server) {
		s.do(request{}).wantHeader("WWW-Authenticate", `Basic realm="inbox", charset="UTF-8"`)
		s.open("名前", "a&to=b")
		s.send("a&to=b", "名前", "x")
		s.poll("名前").wantMessage("a&to=b", "x")
		s.send("名前", "a&to=b", "y")
		s.poll("a&to=b").wantMessage("%E5%90%8D%E5%89%8D", "y")
	}},
	{name: "only the URL names the recipient", run: func(s *server) {
		s.open("alice", "carol")
		r := sending("bob", "alice", "to=carol")
		r.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		s.do(r).want(http.StatusOK)
		s.poll("carol").want(http.StatusNoContent)
		s.poll("alice").wantMessage("bob", "to=carol")
		r.query, r.body = "", strings.NewReader("to=carol")
		s.do(r).wantProblem("bad-recipient")
	}},
	{name: "a description with many tracks fits", run: func(s *server) {
		s.open("alice")
		sdp := strings.Repeat("a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n", 1500)
		s.send("bob", "alice", sdp)
		s.poll("alice").wantMessage("bob", sdp)
	}},
}

// Promises that keep out strangers and other pages.
var keptOut = []promise{
	{name: "no browser runs a message", run: func(s *server) {
		s.open("alice")
		r := sending("mallory", "alice", "<script>alert(1)</script>")
		r.header = http.Header{"Content-Type": {"text/html"}}
		s.do(r).want(http.StatusOK)
		a := s.poll("alice").wantHeader("Content-Type", "application/octet-stream")
		a.wantHeader("X-Content-Type-Options", "nosniff").wantHeader("Content-Security-Policy", "default-src 'none'; sandbox")
		s.do(request{id: "alice", header: http.Header{"Sec-Fetch-Mode": {"navigate"}}}).wantProblem("forbidden-navigation")
	}},
	{name: "ids that look alike stay apart", real: func(t *testing.T) {
		for _, http2 := range []bool{false, true} {
			s := start(t, config{sockets: true, http2: http2})
			s.open("alice")
			for _, id := range []string{"Bob\n", "Bob\r", " Bob", "Bob ", "Bob\x00", "Bob\u00a0"} {
				s.do(request{method: http.MethodPost, auth: []string{basic(id + ":b")}, query: "?to=alice"}).wantProblem("bad-credentials")
			}
			for id, from := range map[string]string{"Bøb": "B%C3%B8b", "B ob": "B%20ob", "Bob%20": "Bob%2520", "Вob": "%D0%92ob"} {
				s.send(id, "alice", "x")
				s.poll("alice").wantMessage(from, "x")
			}
		}
	}},
	{name: "polling keeps an id, and its loss is reported", run: func(s *server) {
		position := s.poll("alice").cursor()
		for range 5 {
			s.turnClock(30 * time.Second)
			s.do(request{id: "alice", password: "mallory's", query: "?wait=0"}).wantProblem("unauthorized")
			s.poll("alice").want(http.StatusNoContent)
		}
		s.expire()
		s.do(request{id: "alice", password: "mallory's", query: "?wait=0"}).want(http.StatusNoContent)
		s.get("alice", "?after="+position).wantProblem("unauthorized")
		s.do(request{method: http.MethodDelete, id: "alice", password: "mallory's"}).want(http.StatusNoContent)
		s.get("alice", "?after="+position).wantHeader("Inbox-Reset", "true")
	}},
	{name: "a stranger cannot find out which ids exist", run: func(s *server) {
		s.open("alice", "bob")
		for _, to := range []string{"alice", "nobody"} {
			r := sending("bob", to, "x")
			r.password = "guessed"
			s.do(r).wantProblem("unauthorized")
		}
	}},
	{name: "no format verb prints a secret", run: func(s *server) {
		for _, credentials := range []string{":", "alice:", ":secret"} {
			s.do(request{auth: []string{basic(credentials)}}).wantProblem("bad-credentials")
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if text := fmt.Sprintf(verb, s.peer("alice").Secret); text != "[secret]" {
				s.Errorf("%s prints %s", verb, text)
			}
		}
	}},
	{name: "every limit has an answer", config: config{limits: inbox.Limits{Inboxes: 3, Memory: 100_000}}, memory: func(s *server) {
		s.open("alice", "bob", "carol")
		s.get("dave", "").wantProblem("server-full")
		large := strings.Repeat("x", 60_000)
		s.send("bob", "alice", large)
		s.post("bob", "carol", large).wantProblem("server-full")
		for range 99 {
			s.send("bob", "alice", "")
		}
		s.post("bob", "alice", "").wantProblem("inbox-full")
		s.send("alice", "bob", "others can send")
	}},
	{name: "an incomplete request is cut off", memory: func(s *server) {
		for _, text := range []string{"", "GET /inbox HTTP/1.1\r\nX: ", plain(http.MethodPost, "?to=a", "bob", "12345")[:90]} {
			conn := s.raw()
			go io.WriteString(conn, text)
			if took := s.ends(conn); took > 11*time.Second {
				s.Errorf("after %q the connection was held for %v", text, took)
			}
		}
	}},
	{name: "an image takes no message", run: func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		image := http.Header{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}, "Sec-Fetch-Site": {"cross-site"}}
		s.do(request{id: "alice", header: image}).wantProblem("forbidden-navigation")
		s.poll("alice").wantMessage("bob", "precious")
	}},
	{name: "a page of a foreign origin cannot send", config: config{Config: origins("https://app.example")}, run: func(s *server) {
		s.open("alice")
		for _, mode := range []string{"no-cors", "cors", "navigate"} {
			r := sending("victim", "alice", "forged")
			r.header = http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Mode": {mode}, "Content-Type": {"text/plain"}}
			s.do(r).want(http.StatusForbidden)
		}
		s.poll("alice").want(http.StatusNoContent)
	}},
	{name: "a preflight allows no credentials, and may be cached", run: func(s *server) {
		a := s.do(request{method: http.MethodOptions, header: http.Header{
			"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"},
			"Access-Control-Request-Headers": {"authorization,content-type"},
		}}).want(http.StatusNoContent).wantHeader("Access-Control-Allow-Credentials", "")
		if a.header.Get("Access-Control-Max-Age") == "" || a.header.Get("Access-Control-Allow-Headers") == "" {
			s.Errorf("the preflight got %v", a.header)
		}
	}},
	{name: "no path leads to a file", run: func(s *server) { // for the pages see cmd/inbox
		for _, path := range []string{"/", "/..", "/inbox_test.go", "/../go.mod"} {
			a := s.do(request{id: "alice", query: path + "?wait=0"})
			a.want(http.StatusNoContent) // the handler ignores the path and knows no files
		}
	}},
	{name: "an error names its code", run: func(s *server) {
		s.do(request{}).wantProblem("unauthorized")
		s.post("bob", "nobody", "").wantProblem("no-such-inbox")
	}},
}
