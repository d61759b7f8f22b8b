package client_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"inbox/client"
)

func isUpgrade(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

// obstacles are proxies between client and server.
var obstacles = map[string]func(next http.Handler, w http.ResponseWriter, r *http.Request){
	"strips the upgrade": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if name == "Upgrade" || name == "Connection" || strings.HasPrefix(name, "Sec-Websocket-") {
				r.Header.Del(name)
			}
		}
		next.ServeHTTP(w, r)
	},
	"strips hop-by-hop headers": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Connection")
		r.Header.Del("Upgrade")
		next.ServeHTTP(w, r)
	},
	"strips only Connection": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Connection")
		next.ServeHTTP(w, r)
	},
	"refuses": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		http.Error(w, "<h1>Forbidden by policy</h1>", http.StatusForbidden)
	},
	"does not implement it": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotImplemented)
	},
	"closes": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		panic(http.ErrAbortHandler)
	},
	"hangs": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	},
	"upgrades and stays silent": func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	},
}

func TestFallback(t *testing.T) {
	for name, obstacle := range obstacles {
		t.Run(name, func(t *testing.T) {
			var tried atomic.Int32
			c := config{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if isUpgrade(r) {
						tried.Add(1)
						obstacle(next, w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			}}
			inBubble(t, c, func(s *server) {
				s.open("bob")
				s.put("alice", "bob", "1", "2")
				bob := s.client("bob", client.Config{})
				receive(s, bob, "1", "2")
				if got := bob.Transport(); got != "long poll" {
					s.Errorf("receives by %q", got)
				}
				time.AfterFunc(4*time.Minute, func() { s.put("alice", "bob", "3") })
				receive(s, bob, "3")
				if n := tried.Load(); n != 1 {
					s.Errorf("tried %d sockets within 5 minutes", n)
				}
				time.AfterFunc(4*time.Minute, func() { s.put("alice", "bob", "4") })
				receive(s, bob, "4")
				if n := tried.Load(); n != 2 {
					s.Errorf("tried %d sockets within 8 minutes", n)
				}
			})
		})
	}
}

// A proxy closes sockets after a while, or immediately.
func TestCutOff(t *testing.T) {
	for _, after := range []time.Duration{time.Minute, time.Second, 0} {
		t.Run(after.String(), func(t *testing.T) {
			c := config{}
			c.wrap = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if isUpgrade(r) {
						w = &cutting{w, after}
					}
					next.ServeHTTP(w, r)
				})
			}
			inBubble(t, c, func(s *server) {
				s.open("bob")
				bob := s.client("bob", client.Config{})
				for i := range 20 {
					time.AfterFunc(time.Duration(i)*11*time.Second, func() { s.put("alice", "bob", strconv.Itoa(i)) })
				}
				for i := range 20 {
					receive(s, bob, strconv.Itoa(i))
				}
				if got, want := bob.Transport() == "socket", after > 10*time.Second; got != want {
					s.Errorf("receives by %q", bob.Transport())
				}
			})
		})
	}
}

// cutting closes a hijacked connection after a delay.
type cutting struct {
	http.ResponseWriter
	after time.Duration
}

func (c *cutting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err == nil {
		time.AfterFunc(c.after+time.Millisecond, func() { conn.Close() })
	}
	return conn, rw, err
}

// A dead network drops everything silently.
func TestSilence(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		var dead atomic.Bool
		transport := s.transport()
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := s.dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &deadly{Conn: c, dead: &dead, closed: make(chan struct{})}, nil
		}
		s.open("bob")
		bob := s.client("bob", client.Config{HTTP: &http.Client{Transport: transport}})
		time.AfterFunc(5*time.Minute, func() { s.put("alice", "bob", "1") })
		receive(s, bob, "1") // pings keep the socket open
		if got := bob.Transport(); got != "socket" {
			s.Errorf("receives by %q", got)
		}
		begin := time.Now()
		dead.Store(true)
		_, err := bob.Receive(s.Context())
		if e, ok := errors.AsType[*client.RetryError](err); !ok || e.Ended != nil {
			s.Errorf("error %v", err)
		}
		// The last pong may have arrived just before.
		if d := time.Since(begin); d > (25+10+30)*time.Second {
			s.Errorf("noticed after %v", d)
		}
		dead.Store(false)
		time.AfterFunc(time.Minute, func() { s.put("alice", "bob", "2") })
		receive(s, bob, "2")
	})
}

// deadly is a connection on which nothing arrives once dead is set.
type deadly struct {
	net.Conn
	dead   *atomic.Bool
	closed chan struct{}
}

func (d *deadly) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if d.dead.Load() {
		<-d.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (d *deadly) Close() error {
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return d.Conn.Close()
}

// A response that is not an inbox server's is never mistaken for one, and does not cause
// a busy loop.
func TestNotAnInbox(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"not found": http.NotFound,
		"json":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"messages":[]}`) },
		"quick":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"replayed": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"cursor":"x","messages":[{"cursor":"x"}]}`)
		},
		"quick with cursor": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Inbox-Cursor", "AAAAAAAAAAEAAAAAAAAAAA")
			w.WriteHeader(http.StatusNoContent)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			c := config{wrap: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					answer(w, r)
				})
			}}
			inBubble(t, c, func(s *server) {
				m, err := s.client("bob", client.Config{}).Receive(withTimeout(s, 10*time.Minute))
				if err == nil {
					s.Errorf("received %q", m.Body)
				}
				s.Log(err)
				if n := asked.Load(); n > 300 { // about one per 2 s
					s.Errorf("made %d requests", n)
				}
			})
		})
	}
}
