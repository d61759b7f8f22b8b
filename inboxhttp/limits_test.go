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
	"inbox/inboxhttp"
)

// Section 9: limits. expiry_test.go covers the TTL and receive_test.go the longest wait.

// A body larger than max-body is 413 before it is read to its end.
func TestBodySize(t *testing.T) {
	const most = 64 << 10
	for name, c := range map[string]struct {
		config inboxhttp.Config
		size   int
		ok     bool
	}{
		"exactly":                    {inboxhttp.Config{}, most, true},
		"one byte more":              {inboxhttp.Config{}, most + 1, false},
		"much more":                  {inboxhttp.Config{}, 10 * most, false},
		"exactly, small limit":       {inboxhttp.Config{MaxBody: 10}, 10, true},
		"one byte more, small limit": {inboxhttp.Config{MaxBody: 10}, 11, false},
		"exactly, large limit":       {inboxhttp.Config{MaxBody: 1 << 20}, 1 << 20, true},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked: %v", name, chunked), func(t *testing.T) {
				wires := []wire{memory}
				if c.ok { // a body that is too large never reaches a store
					wires = append(wires, twoServers)
				}
				overEach(t, wires, config{Config: c.config}, func(s *server) {
					s.open("alice")
					body := strings.Repeat("x", c.size)
					r := sending("bob", "alice", body)
					if chunked {
						r.body = struct{ io.Reader }{strings.NewReader(body)}
					}
					if a := s.do(r); !c.ok {
						a.wantProblem("too-large")
						s.poll("alice").want(http.StatusNoContent)
					} else {
						a.want(http.StatusOK)
						s.poll("alice").wantMessage("bob", body)
					}
				})
			})
		}
	}
}

// The server answers without waiting for the rest of an oversized body, and does not
// reuse the connection.
func TestTooLargeIsAnsweredEarly(t *testing.T) {
	head := "POST /inbox?to=alice HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("bob:b") + "\r\n"
	for name, request := range map[string]string{
		"declared":               head + "Content-Length: 65537\r\n\r\n",
		"declared huge":          head + "Content-Length: 9223372036854775807\r\n\r\n",
		"expecting 100 Continue": head + "Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n",
		"chunked":                head + "Transfer-Encoding: chunked\r\n\r\n10001\r\n" + strings.Repeat("x", 65537),
		"in small chunks":        head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("x", 0x400)+"\r\n", 65),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				begin := time.Now()
				conn := s.raw()
				go io.WriteString(conn, request) // and nothing else
				r := bufio.NewReader(conn)
				a := s.readAnswer(r, http.MethodPost)
				a.want(http.StatusRequestEntityTooLarge).wantProblem("too-large")
				if took := time.Since(begin); took != 0 {
					t.Errorf("answered after %v", took)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("the connection is still open: %v", err)
				}
			})
		})
	}
}

// With Expect: 100-continue, every other fault is reported before the body is sent.
func TestExpectContinue(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for query, want := range map[string]string{"?to=alice": "", "?to=": "bad-recipient"} {
			conn := s.raw()
			fmt.Fprintf(conn, "POST /inbox%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
				query, basic("bob:b"))
			r := bufio.NewReader(conn)
			if want == "" {
				line, err := r.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
					s.Fatalf("got %q, %v", line, err)
				}
				r.ReadString('\n')
				go io.WriteString(conn, "hello")
			}
			if a := s.readAnswer(r, http.MethodPost); a.code != want {
				s.Fatalf("got %d %s", a.status, a.body)
			}
		}
	})
}

// readAnswer reads one answer from a raw connection.
func (s *server) readAnswer(r *bufio.Reader, method string) answer {
	s.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		s.Fatalf("no answer: %v", err)
	}
	a, err := read(s, resp)
	if err != nil {
		s.Fatalf("incomplete answer: %v", err)
	}
	s.check(request{method: method}, a)
	return a
}

// Beyond 100 messages or 1 MiB, a send is 503 inbox-full. Accepted messages stay.
func TestInboxFull(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for i := range 100 {
			s.send("bob", "alice", fmt.Sprint(i))
		}
		for range 3 {
			s.post("bob", "alice", "").wantProblem("inbox-full")
		}
		s.poll("alice").wantMessage("bob", "0")
		s.send("bob", "alice", "100")
		s.post("bob", "alice", "").wantProblem("inbox-full")
		messages := s.getJSON("alice", "?after=0").batch().Messages
		if len(messages) != 100 || *messages[0].Body != "1" || *messages[99].Body != "100" {
			s.Errorf("%d messages, from %q to %q", len(messages), *messages[0].Body, *messages[len(messages)-1].Body)
		}

		s.open("carol")
		large := strings.Repeat("x", 64<<10)
		for range 16 {
			s.send("bob", "carol", large)
		}
		s.post("bob", "carol", "x").wantProblem("inbox-full")
		s.send("bob", "carol", "") // takes up no bytes
		s.poll("carol").wantMessage("bob", large)
		s.send("bob", "carol", large)
		s.post("bob", "carol", "x").wantProblem("inbox-full")
	})
}

// A full inbox does not affect others.
func TestFullInboxDoesNotAffectOthers(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{Messages: 1}}, func(s *server) {
		s.open("alice", "carol")
		s.send("bob", "alice", "x")
		s.post("bob", "alice", "y").wantProblem("inbox-full")
		s.send("bob", "carol", "x")
		s.send("alice", "bob", "x") // its owner can still send
		s.poll("bob").wantMessage("alice", "x")
	})
}

// Beyond the number of inboxes, a new peer gets 503 server-full. Existing peers are not
// affected.
func TestServerFull(t *testing.T) {
	inBubble(t, config{limits: inbox.Limits{Inboxes: 2}}, func(s *server) {
		s.open("alice", "bob")
		s.get("carol", "").wantProblem("server-full")
		s.post("carol", "alice", "x").wantProblem("server-full")
		s.send("bob", "alice", "x")
		s.poll("alice").wantMessage("bob", "x")
		s.do(request{method: http.MethodDelete, id: "bob"}).want(http.StatusNoContent)
		s.open("carol")
		s.get("bob", "").wantProblem("server-full")
		time.Sleep(time.Minute) // all inboxes expire
		s.open("bob", "dave")
	})
}

// The memory of all messages is bounded, too.
func TestServerMemoryFull(t *testing.T) {
	inBubble(t, config{limits: inbox.Limits{Memory: 14_000}}, func(s *server) {
		s.open("alice", "bob")
		s.post("bob", "alice", strings.Repeat("x", 14_000)).wantProblem("server-full")
		s.send("bob", "alice", strings.Repeat("x", 9_000))
		s.post("alice", "bob", strings.Repeat("x", 9_000)).wantProblem("server-full")
		s.poll("alice").want(http.StatusOK)
		s.send("alice", "bob", strings.Repeat("x", 9_000))
	})
}

// A header block above 16 KiB is 431.
func TestHeaderSize(t *testing.T) {
	const most = 16 << 10
	for size, status := range map[int]int{
		most - 1<<10: http.StatusNoContent, most: http.StatusNoContent,
		most + 1<<10: http.StatusRequestHeaderFieldsTooLarge, 10 * most: http.StatusRequestHeaderFieldsTooLarge,
	} {
		for name, lines := range map[string]int{"one header": 1, "many headers": 100} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				inBubble(t, config{}, func(s *server) {
					begin := "GET /inbox?wait=0 HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("alice:a") + "\r\n"
					left := size - len(begin) - len("\r\n")
					for i := range lines {
						name := fmt.Sprintf("X-Filler-%02d: ", i)
						n := left / (lines - i)
						begin += name + strings.Repeat("x", n-len(name)-2) + "\r\n"
						left -= n
					}
					conn := s.raw()
					go io.WriteString(conn, begin+"\r\n")
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						t.Fatal(err)
					}
					if resp.StatusCode != status {
						t.Errorf("a header block of %d bytes: %d, want %d", len(begin)+2, resp.StatusCode, status)
					}
				})
			})
		}
	}
}

// The longest valid id and password fit into a header.
func TestLargestCredentialsFit(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		id, password := strings.Repeat("é", 256), strings.Repeat("p", 256)
		s.do(request{id: id, password: password, query: "?limit=0"}).want(http.StatusNoContent)
		r := sending(id, id, "x")
		r.password = password
		r.header = http.Header{"Idempotency-Key": {strings.Repeat("k", 64)}}
		s.do(r).want(http.StatusOK)
		s.do(request{id: id, password: password, query: "?wait=0"}).wantMessage(strings.Repeat("%C3%A9", 256), "x")
	})
}
