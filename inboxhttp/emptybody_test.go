package inboxhttp_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"inbox/internal/inboxtest"
)

// Section 4: a body of zero bytes counts as none, however it is sent.

// emptyBodies are empty chunked bodies.
var emptyBodies = map[string]string{
	"plain":            "0\r\n\r\n",
	"many zeros":       "0000\r\n\r\n",
	"an extension":     "0;a=b;c=\"d\"\r\n\r\n",
	"a trailer":        "0\r\nX-Checksum: abc\r\n\r\n",
	"several trailers": "0;x\r\nA: 1\r\nB: 2\r\n\r\n",
}

// chunked returns the header of a GET with a chunked body.
func chunked(id, query, more string) string {
	return strings.Replace(plain(http.MethodGet, query, id, ""), "Host: x\r\n", "Host: x\r\nTransfer-Encoding: chunked\r\n"+more, 1)
}

// bodyWays are different timings for the bytes of a body.
var bodyWays = map[string]func(c *rawClient, head, body string){
	"at once": func(c *rawClient, head, body string) { c.write(head + body) },
	"late": func(c *rawClient, head, body string) {
		c.write(head)
		time.Sleep(300 * time.Millisecond) // meanwhile the server waits for it
		io.WriteString(c.Conn, body)       // fails if the server has refused the first part
	},
	"byte by byte": func(c *rawClient, head, body string) {
		c.write(head)
		for i := range body {
			time.Sleep(time.Millisecond) // to send each byte in its own packet
			io.WriteString(c.Conn, body[i:i+1])
		}
	},
	"split after the size": func(c *rawClient, head, body string) {
		c.write(head + body[:1])
		time.Sleep(50 * time.Millisecond) // until the server has read the first part
		io.WriteString(c.Conn, body[1:])
	},
}

var bodyWires = []wire{tcp, overTLS}

// An empty chunked body, as gateways send it, changes nothing: not for polls, parked long
// polls, streams, sockets and DELETE. It is never taken for the next request.
func TestEmptyChunkedBody(t *testing.T) {
	overEach(t, bodyWires, config{}, func(s *server) {
		for form, body := range emptyBodies {
			for way, write := range bodyWays {
				if way == "late" && form != "plain" {
					continue // this combination takes too long
				}
				name := form + ", " + way
				s.open("alice", "bob")
				c := s.rawClient()
				write(c, chunked("alice", "?after=0&wait=0", ""), body)
				c.answer(http.MethodGet).want(http.StatusNoContent)
				c.wantEnd(name)

				s.send("bob", "alice", "precious")
				c = s.rawClient()
				write(c, chunked("alice", "", ""), body)
				c.answer(http.MethodGet).wantMessage("bob", "precious")
				c.wantEnd(name)

				receivers, parked := s.store.receivers("alice"), s.parked.Load()
				c = s.rawClient()
				write(c, chunked("alice", "?after=0", ""), body)
				s.store.untilReceivers("alice", receivers+1, nil)
				if !strings.HasPrefix(s.url, "https:") {
					inboxtest.Until(s, "it is parked", func() bool { return s.parked.Load() > parked })
				}
				s.send("bob", "alice", "later")
				c.answer(http.MethodGet).wantMessage("bob", "later")
				c.wantEnd(name)

				c = s.rawClient()
				write(c, chunked("alice", "?after=0", acceptStream), body)
				source := c.readStream()
				if e := source.until(c, "message"); !strings.Contains(e.data, "later") {
					s.Errorf("%s: the stream had %+v", name, e)
				}
				c.Close()

				c = s.rawClient()
				write(c, strings.Replace(chunked("bob", "", ""), "GET", "DELETE", 1), body)
				c.answer(http.MethodDelete).want(http.StatusNoContent)
				c.wantEnd(name)
				s.do(request{method: http.MethodDelete, id: "alice"})
			}
		}
	})
}

// wantEnd fails the test unless the server closes the connection without another answer.
func (c *rawClient) wantEnd(name string) {
	c.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.Errorf("%s: %q, %v, want the end of the connection", name, rest, err)
	}
	c.Close()
}

// The frames of a socket begin after the body of its handshake.
func TestEmptyChunkedBodyOfAHandshake(t *testing.T) {
	overEach(t, bodyWires, config{}, func(s *server) {
		for form, body := range emptyBodies {
			for way, write := range bodyWays {
				if way == "late" && form != "plain" {
					continue // this combination takes too long
				}
				s.open("alice")
				c := s.rawClient()
				head := strings.Replace(rawHandshake("alice"), "Host: ", "Transfer-Encoding: chunked\r\nHost: ", 1)
				write(c, head, body+string(text(sendText("alice", "hello", "k"))))
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
					s.Fatalf("%s, %s: %v, %v", form, way, resp, err)
				}
				w := &webSocket{TB: s.TB, s: s, conn: c.Conn, frames: make(chan wireFrame, 100)}
				go w.readFrames(c.r)
				s.wantSentAll(w, []string{"k"})
				c.Close()
				s.do(request{method: http.MethodDelete, id: "alice"})
			}
		}
	})
}

// A GET with a body, or a broken body, is refused. It takes no message, and no part of it
// is taken for a request.
func TestBodyOfAGet(t *testing.T) {
	overEach(t, bodyWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		forged := plain(http.MethodDelete, "", "alice", "")
		for name, body := range map[string]string{
			"a chunk":           "1\r\nx\r\n0\r\n\r\n",
			"a request inside":  fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(forged), forged),
			"not a chunk":       "zz\r\n",
			"a negative size":   "-0\r\n\r\n",
			"a broken trailer":  "0\r\nnonsense\r\n\r\n",
			"a request instead": forged,
		} {
			for way, write := range bodyWays {
				for _, more := range []string{"", acceptStream} {
					if way == "late" && name != "a chunk" {
						continue // this combination takes too long
					}
					c := s.rawClient()
					write(c, chunked("alice", "", more), body)
					if a := c.answer(http.MethodGet); a.code != "bad-request" {
						s.Errorf("%s, %s: %d %s", name, way, a.status, a.body)
					}
					c.Close()
				}
			}
		}
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// After an empty chunked body the connection closes: a request behind it does not run.
func TestRequestAfterAnEmptyBody(t *testing.T) {
	overEach(t, bodyWires, config{}, func(s *server) {
		for _, query := range []string{"?after=0&wait=0", "?after=0&wait=1"} {
			s.do(request{method: http.MethodDelete, id: "alice"})
			s.open("alice")
			c := s.rawClient()
			c.write(chunked("alice", query, "") + "0\r\n\r\n" + plain(http.MethodDelete, "", "alice", ""))
			c.answer(http.MethodGet).want(http.StatusNoContent)
			c.r.WriteTo(io.Discard)
			if !s.alive("alice") {
				s.Errorf("%s: the next request ran on the same connection", query)
			}
			c.Close()
		}
	})
}

// The server does not wait forever for the end of a body.
func TestIncompleteBody(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		c := s.rawClient()
		begin := time.Now()
		c.write(chunked("alice", "", ""))
		if a := c.answer(http.MethodGet); a.code != "too-slow" || time.Since(begin) != 10*time.Second {
			s.Errorf("after %v: %d %s", time.Since(begin), a.status, a.body)
		}
	})
}

// A long poll may wait longer than a body may take.
func TestEmptyBodyBeforeALongWait(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		c := s.rawClient()
		begin := time.Now()
		c.write(chunked("alice", "?wait=25", "") + "0\r\n\r\n")
		c.answer(http.MethodGet).want(http.StatusNoContent)
		if took := time.Since(begin); took != 25*time.Second {
			s.Errorf("it lasted %v", took)
		}
	})
}

// Over HTTP/2, a request may end some time after its header, with an empty or padded
// frame or with trailers.
func TestEmptyBodyOverHTTP2(t *testing.T) {
	overEach(t, []wire{{name: "TLS, HTTP/2", config: config{sockets: true, tls: true, http2: true}}, {name: "TCP, HTTP/2", config: config{sockets: true, http2: true}}}, config{}, func(s *server) {
		for name, c := range map[string]struct {
			end    func(f *http2.Framer)
			status string
		}{
			"an empty frame": {func(f *http2.Framer) { f.WriteData(1, true, nil) }, "204"},
			"two of them":    {func(f *http2.Framer) { f.WriteData(1, false, nil); f.WriteData(1, true, nil) }, "204"},
			"padding":        {func(f *http2.Framer) { f.WriteDataPadded(1, true, nil, make([]byte, 10)) }, "204"},
			"trailers": {func(f *http2.Framer) {
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x-a", "b"), EndHeaders: true, EndStream: true})
			}, "204"},
			"a byte":          {func(f *http2.Framer) { f.WriteData(1, true, []byte("x")) }, "400"},
			"a byte, no end":  {func(f *http2.Framer) { f.WriteData(1, false, []byte("x")) }, "400"},
			"an empty length": {func(f *http2.Framer) { f.WriteData(1, true, nil) }, "204"},
		} {
			for _, late := range []time.Duration{0, 300 * time.Millisecond} {
				for _, accept := range []string{"application/json", "text/event-stream"} {
					fields := []string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/inbox?after=0&wait=0",
						"authorization", basic("alice:" + passwordOf("alice")), "accept", accept}
					if name == "an empty length" {
						fields = append(fields, "content-length", "0")
					}
					want := c.status
					if accept == "text/event-stream" && want == "204" {
						want = "200"
					}
					if got := s.frames(fields, late, c.end); got != want {
						s.Errorf("%s after %v, %s: %s, want %s", name, late, accept, got, want)
					}
				}
			}
		}
	})
}

func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// frames sends a request frame by frame and returns the status of the answer.
func (s *server) frames(fields []string, late time.Duration, end func(f *http2.Framer)) (status string) {
	s.Helper()
	conn := s.rawHTTP2()
	defer conn.Close()
	io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	f.WriteSettings()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(fields...), EndHeaders: true})
	time.Sleep(late) // meanwhile the server waits for the end
	end(f)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			s.Fatal(err)
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			return h.PseudoValue("status")
		}
	}
}

func (s *server) rawHTTP2() net.Conn {
	s.Helper()
	address := strings.TrimPrefix(strings.TrimPrefix(s.url, "https://"), "http://")
	if !strings.HasPrefix(s.url, "https:") {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			s.Fatal(err)
		}
		return conn
	}
	config := s.transport.TLSClientConfig.Clone()
	config.NextProtos, config.ServerName = []string{"h2"}, "localhost"
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		s.Fatal(err)
	}
	return conn
}
