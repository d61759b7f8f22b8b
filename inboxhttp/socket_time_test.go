package inboxhttp_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
)

// Section 6: deadlines.

// Without an open frame within 5 seconds, the server closes with 4408, whatever else the
// client sends.
func TestSocketNoOpenInTime(t *testing.T) {
	open := text(fmt.Sprintf(`{"type":"open","id":"alice","password":%q}`, passwordOf("alice")))
	for name, meanwhile := range map[string]func(w *webSocket){
		"silence":           func(*webSocket) {},
		"pings":             func(w *webSocket) { w.everySecond(frame(fin|opPing, "")) },
		"pongs":             func(w *webSocket) { w.everySecond(frame(fin|opPong, "")) },
		"fragments":         func(w *webSocket) { w.write(frame(opText, "{")); w.everySecond(frame(0, " ")) },
		"half a header":     func(w *webSocket) { w.write([]byte{fin | opText}) },
		"half a frame":      func(w *webSocket) { time.Sleep(4 * time.Second); w.write(open[:30]) },
		"a byte per second": func(w *webSocket) { w.bytePerSecond(open) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				w := s.dialSocket(handshake{})
				begin := time.Now()
				go meanwhile(w)
				for f, ok := w.next(); ; f, ok = w.next() {
					if !ok {
						s.Fatal("ended without a close frame")
					}
					if f.op == opClose {
						if closeCode(f) != 4408 {
							s.Errorf("closed with %d %q", closeCode(f), f.payload[2:])
						}
						break
					}
				}
				w.wantEnd()
				if took := time.Since(begin); took < 5*time.Second || took > 6*time.Second {
					s.Errorf("closed after %v", took)
				}
			})
		})
	}
	inBubble(t, config{}, func(s *server) { // just in time
		w := s.dialSocket(handshake{})
		time.Sleep(5*time.Second - 1)
		w.write(open)
		w.wantOpened(false)
		time.Sleep(time.Minute)
		w.usable("alice")
	})
}

func (w *webSocket) everySecond(frame []byte) {
	for range 20 {
		time.Sleep(time.Second)
		w.write(frame)
	}
}

func (w *webSocket) bytePerSecond(bytes []byte) {
	for i := range min(len(bytes), 30) {
		w.write(bytes[i : i+1])
		time.Sleep(time.Second)
	}
}

// The server pings after 20 seconds of silence and drops a socket that does not answer
// for another 10.
func TestSocketPings(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		w := s.socket("alice", "")
		begin := time.Now()
		for i := 1; i <= 30; i++ { // ten minutes
			f, ok := w.next()
			at := time.Since(begin)
			if !ok || f.op != opPing || at != time.Duration(i)*20*time.Second {
				s.Fatalf("got %x after %v (%v), want ping %d", f.op, at, ok, i)
			}
		}
		s.send("bob", "alice", "still there")
		w.wantMessages("bob", "still there")
	})
}

// Any frame counts as a sign of life, so the server pings only silent clients.
func TestSocketPingsOnlyTheSilent(t *testing.T) {
	for name, sign := range map[string][]byte{
		"ping": frame(fin|opPing, ""), "pong": frame(fin|opPong, ""), "ack": text(`{"type":"ack","after":"0"}`),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				w := s.socket("alice", "")
				for range 30 {
					time.Sleep(15 * time.Second)
					w.write(sign)
				}
				synctest.Wait()
				for len(w.frames) > 0 {
					if f := <-w.frames; f.op == opPing {
						s.Fatal("a ping without any silence")
					}
				}
				begin := time.Now()
				if f, ok := w.next(); !ok || f.op != opPing || time.Since(begin) != 20*time.Second {
					s.Errorf("got %x %v after %v of silence", f.op, ok, time.Since(begin))
				}
			})
		})
	}
}

// A socket that does not answer is dropped, whether its client is silent or does not even
// read. Its messages stay, and its inbox lives for a whole TTL from then on.
func TestSocketDropped(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		w := s.dialSocket(handshake{id: "alice"})
		w.wantOpened(false)
		w.muted.Store(true)
		s.send("bob", "alice", "precious")
		w.wantMessages("bob", "precious")
		begin := time.Now()
		w.wantEnd() // without a close frame
		if took := time.Since(begin); took != 30*time.Second {
			s.Errorf("dropped after %v, want 20 and 10 s", took)
		}
		synctest.Wait()
		wantLife(s, "alice", time.Minute)
	})
	inBubble(t, config{}, func(s *server) {
		w := s.socket("alice", "")
		w.muted.Store(true)
		time.Sleep(29 * time.Second)
		w.write(frame(fin|opPong, "late, but not too late"))
		time.Sleep(19 * time.Second)
		s.send("bob", "alice", "still there")
		w.wantMessages("bob", "still there")
	})
}

// A socket whose client does not read is dropped after 10 s. Nothing here buffers between
// the two.
func TestSocketStuck(t *testing.T) {
	for name, begin := range map[string]func(s *server, w *webSocket){
		"a message": func(s *server, w *webSocket) { s.send("bob", "alice", "precious") },
		"an answer": func(s *server, w *webSocket) { go w.send("alice", "precious", "k") },
		"a pong":    func(s *server, w *webSocket) { go w.write(frame(fin|opPing, "x")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				conn := s.raw()
				w := &webSocket{TB: t, s: s, conn: conn}
				go conn.Write([]byte(rawHandshake("alice")))
				buf := make([]byte, 4096)
				for got := ""; !strings.Contains(got, `"opened"`); {
					n, err := conn.Read(buf)
					if err != nil {
						s.Fatal(err)
					}
					got += string(buf[:n])
				}
				synctest.Wait()
				begin(s, w)
				synctest.Wait()
				start := time.Now()
				// Without a reader, only a write shows that the connection is closed.
				time.Sleep(10*time.Second - 1)
				other := s.socket("other", "")
				other.usable("other")
				time.Sleep(time.Second)
				if _, err := conn.Write([]byte{0}); err == nil {
					s.Errorf("after %v, the connection is not closed", time.Since(start))
				}
				if held, want := s.held("alice"), 1; name != "a pong" && held != want {
					s.Errorf("%d messages, want %d", held, want)
				}
			})
		})
	}
}

// A message must arrive within 10 s from its first byte to its last, in however many
// frames.
func TestSocketSlowMessage(t *testing.T) {
	message := text(sendText("nobody", "slowly", "k"))
	for name, send := range map[string]func(w *webSocket){
		"stops":               func(w *webSocket) { w.write(message[:10]) },
		"half a header":       func(w *webSocket) { w.write(message[:1]) },
		"trickles":            func(w *webSocket) { w.bytePerSecond(message) },
		"one fragment only":   func(w *webSocket) { w.write(frame(opText, "{")) },
		"fragments":           func(w *webSocket) { w.write(frame(opText, "{")); w.everySecond(frame(0, " ")) },
		"fragments and pings": func(w *webSocket) { w.write(frame(opText, "{")); w.everySecond(frame(fin|opPing, " ")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{}, func(s *server) {
				w := s.socket("alice", "")
				begin := time.Now()
				go send(w)
				w.wantClose(1008)
				if took := time.Since(begin); took < 10*time.Second || took > 12*time.Second {
					s.Errorf("closed after %v", took)
				}
				synctest.Wait()
				wantLife(s, "alice", time.Minute)
			})
		})
	}
	inBubble(t, config{}, func(s *server) { // just in time
		w := s.socket("alice", "")
		for i := range message {
			w.write(message[i : i+1])
			time.Sleep(9 * time.Second / time.Duration(len(message)))
		}
		w.wantError("k", "no-such-inbox")
		for _, f := range [][]byte{frame(opText, "{"), frame(0, `"type":`), frame(fin, `"ack","after":"0"}`)} {
			time.Sleep(4 * time.Second)
			w.write(f)
		}
		w.usable("alice")
	})
}

// The 10 s apply to each message: a client that never pauses is not cut off and still
// gets its answers.
func TestSocketThatNeverPauses(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		w := s.socket("alice", "")
		var stream []byte
		for _, key := range numbers(60) {
			stream = append(stream, text(sendText("nobody", "x", key))...)
		}
		size := len(text(sendText("nobody", "x", "10")))
		begin := time.Now()
		go func() {
			w.write(stream[:size/2]) // a frame is always in transit
			for at := size / 2; at < len(stream); at += size {
				time.Sleep(500 * time.Millisecond)
				w.write(stream[at:min(at+size, len(stream))])
			}
		}()
		for i, key := range numbers(60) {
			w.wantError(key, "no-such-inbox")
			if i == 1 && time.Since(begin) > 2*time.Second {
				s.Errorf("an answer was held back for %v", time.Since(begin))
			}
		}
	})
}

// It also still receives its messages.
func TestSocketReceivesWhileItSends(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		w := s.socket("alice", "")
		message := text(sendText("nobody", strings.Repeat("x", 1000), "k"))
		w.write(message[:500])
		s.send("bob", "alice", "meanwhile")
		begin := time.Now()
		go func() {
			time.Sleep(5 * time.Second)
			w.write(message[500:])
		}()
		for heard := map[string]bool{}; len(heard) < 2; {
			heard[w.hear().Type] = true
		}
		if took := time.Since(begin); took > 6*time.Second {
			s.Errorf("it took %v", took)
		}
	})
}

// The inbox does not expire while a socket is open, even if the TTL is shorter than the
// ping interval. However the socket ends, the inbox lives for a whole TTL from then on.
func TestSocketExpiry(t *testing.T) {
	for name, end := range map[string]func(s *server, w *webSocket){
		"drops":            func(_ *server, w *webSocket) { w.conn.Close() },
		"closes":           func(_ *server, w *webSocket) { w.write(frame(fin|opClose, "\x03\xe8")); w.wantClose(1000) },
		"a protocol error": func(_ *server, w *webSocket) { w.write(frame(fin|0x40|opText, "x")); w.wantClose(1002) },
		"a bad frame":      func(_ *server, w *webSocket) { w.say("x"); w.wantClose(1007) },
		"a bad cursor":     func(_ *server, w *webSocket) { w.say(`{"type":"ack","after":"x"}`); w.wantClose(4400) },
		"draining":         func(s *server, w *webSocket) { s.handler.Drain(); w.wantClose(1012) },
	} {
		for _, ttl := range []time.Duration{10 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(name, " ", ttl), func(t *testing.T) {
				inBubble(t, config{limits: inbox.Limits{TTL: ttl}}, func(s *server) {
					w := s.socket("alice", "")
					time.Sleep(5*time.Minute + ttl/2 - time.Second) // just before it looks again
					s.send("bob", "alice", "after many lives")
					time.Sleep(ttl/2 - time.Second)
					w.wantMessages("bob", "after many lives")
					end(s, w)
					synctest.Wait()
					wantLife(s, "alice", ttl)
				})
			})
		}
	}
}

// After the inbox has expired, its old position leads to a reset.
func TestSocketAfterExpiry(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		w := s.socket("alice", "")
		s.send("bob", "alice", "one")
		one := w.wantMessages("bob", "one")
		w.write(frame(fin|opClose, "\x03\xe8"))
		w.wantClose(1000) // once the server has left the inbox
		s.expire()
		w = s.dialSocket(handshake{id: "alice", query: "?after=" + one})
		w.wantOpened(true)
		s.send("bob", "alice", "two")
		w.wantMessages("bob", "two")
	})
}
