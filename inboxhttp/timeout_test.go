package inboxhttp_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Section 9: a header must arrive within 5 s and a body within 10 s. Clients that do not
// read their answers have deadlines, too.

// pausing is a body that arrives one byte at a time, with pauses.
type pausing struct {
	r     *strings.Reader
	pause time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	time.Sleep(p.pause / time.Duration(p.r.Size()))
	return p.r.Read(b[:min(1, len(b))])
}

// ends waits until the server closes the connection and returns how long that took.
func (s *server) ends(conn net.Conn) time.Duration {
	s.Helper()
	begin := time.Now()
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.Logf("the connection ended with %v", err)
	}
	return time.Since(begin)
}

func TestSlowHeader(t *testing.T) {
	for name, begin := range map[string]string{
		"half a line":    "GET /inb",
		"half a header":  "GET /inbox HTTP/1.1\r\nHost: x\r\nX-A: ",
		"no empty line":  "GET /inbox HTTP/1.1\r\nHost: x\r\n",
		"half a preface": "PRI * HTTP/2.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				conn := s.raw()
				io.WriteString(conn, begin)
				if took := s.ends(conn); took > 6*time.Second {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
	t.Run("nothing", func(t *testing.T) {
		inBubble(t, config{}, func(s *server) {
			if took := s.ends(s.raw()); took > 6*time.Second {
				t.Errorf("closed after %v", took)
			}
		})
	})
	t.Run("a byte a second", func(t *testing.T) {
		inBubble(t, config{}, func(s *server) {
			conn := s.raw()
			go func() {
				for _, b := range []byte("GET /inbox HTTP/1.1\r\nHost: x\r\n") {
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			if took := s.ends(conn); took > 6*time.Second {
				t.Errorf("closed after %v", took)
			}
		})
	})
}

// The whole body must arrive within 10 s, even if it trickles in.
func TestSlowBody(t *testing.T) {
	for name, body := range map[string]func(s *server) io.Reader{
		"stops":        func(s *server) io.Reader { return slowly(s, strings.Repeat("x", 100)) },
		"never begins": func(s *server) io.Reader { return slowly(s, "") },
		"byte by byte": func(*server) io.Reader {
			return &pausing{strings.NewReader(strings.Repeat("x", 1000)), 100 * time.Second}
		},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(name+protocolName(http2), func(t *testing.T) {
				inBubble(t, config{http2: http2}, func(s *server) {
					s.open("alice")
					r := sending("bob", "alice", "")
					r.body = body(s)
					begin := time.Now()
					s.do(r).want(http.StatusRequestTimeout).wantProblem("too-slow")
					if took := time.Since(begin); took < 10*time.Second || took > 10*time.Second+100*time.Millisecond { // plus one byte
						t.Errorf("answered after %v", took)
					}
					s.poll("alice").want(http.StatusNoContent)
				})
			})
		}
	}
}

func protocolName(http2 bool) string {
	if http2 {
		return ", HTTP/2"
	}
	return ", HTTP/1.1"
}

// A slow body that arrives in time is accepted.
func TestSlowBodyInTime(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		inBubble(t, config{http2: http2}, func(s *server) {
			s.open("alice")
			body := strings.Repeat("x", 100)
			r := sending("bob", "alice", "")
			r.body = &pausing{strings.NewReader(body), 9 * time.Second}
			s.do(r).want(http.StatusOK)
			s.poll("alice").wantMessage("bob", body)
		})
	}
}

// Each body on a connection has its own 10 s.
func TestConsecutiveSlowBodies(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		for range 4 {
			r := sending("bob", "alice", "")
			r.body = &pausing{strings.NewReader(strings.Repeat("x", 10)), 6 * time.Second}
			s.do(r).want(http.StatusOK)
			s.get("alice", "?after=0&limit=1").want(http.StatusOK)
			s.wait("carol", "").answer().want(http.StatusNoContent) // 25 s: longer than any earlier deadline
		}
	})
}

// The body of a refused request, which the server does not read, has the same deadline.
func TestSlowBodyOfARefusedRequest(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		conn := s.raw()
		begin := time.Now()
		go io.WriteString(conn, "POST /inbox HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
		s.readAnswer(bufio.NewReader(conn), http.MethodPost).wantProblem("unauthorized")
		s.ends(conn)
		if took := time.Since(begin); took > 11*time.Second {
			t.Errorf("the connection was held for %v", took)
		}
	})
}

// The same deadline holds at other URLs.
func TestSlowBodyOfAnotherURL(t *testing.T) {
	page := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a page") })
	}
	inBubble(t, config{wrap: page}, func(s *server) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			conn := s.raw()
			begin := time.Now()
			go io.WriteString(conn, method+" / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
			conn.SetReadDeadline(begin.Add(time.Minute))
			io.Copy(io.Discard, conn)
			if took := time.Since(begin); took > 11*time.Second {
				t.Errorf("%s: the connection was held for %v", method, took)
			}
		}
	})
}

// A client that does not read its answer loses its connection some time after the longest
// wait, which frees the goroutine. Its message stays.
func TestSlowReader(t *testing.T) {
	for name, query := range map[string]string{"pop": "?wait=0", "acknowledged": "?wait=0&after=0"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				s.open("alice")
				body := strings.Repeat("x", 64<<10)
				s.send("bob", "alice", body)
				conn := s.raw()
				io.WriteString(conn, "GET /inbox"+query+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+basic("alice:"+passwordOf("alice"))+"\r\n\r\n")
				// Nothing is read, and nothing buffers on the way. This is also the case
				// of a connection that broke silently while all its buffers were full.
				time.Sleep(36 * time.Second)
				if took := s.ends(conn); took > 0 {
					t.Errorf("closed %v too late", took)
				}
				s.poll("alice").wantMessage("bob", body)
			})
		})
	}
}

// An idle connection is closed, but not before proxies do so themselves (60 s).
func TestIdleConnection(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		conn := s.raw()
		r := bufio.NewReader(conn)
		for _, pause := range []time.Duration{0, 61 * time.Second, 61 * time.Second} {
			time.Sleep(pause)
			if _, err := io.WriteString(conn, "DELETE /inbox HTTP/1.1\r\nHost: x\r\nAuthorization: "+basic("alice:a")+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			s.readAnswer(r, http.MethodDelete).want(http.StatusNoContent)
			synctest.Wait()
		}
		if took := s.ends(conn); took < 61*time.Second || took > 2*time.Minute {
			t.Errorf("closed after %v", took)
		}
	})
}
