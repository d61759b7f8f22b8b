package inboxhttp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
)

// RFC 6455, 5 and 7: frames.

// closes has frames and the close codes that the server may answer them with.
var closes = []struct {
	name   string
	frames []byte
	codes  []int
}{
	{"RSV1", frame(fin|0x40|opText, "{}"), []int{1002}},
	{"RSV2", frame(fin|0x20|opText, "{}"), []int{1002}},
	{"RSV3", frame(fin|0x10|opText, "{}"), []int{1002}},
	{"RSV1 of a ping", frame(fin|0x40|opPing, ""), []int{1002}},
	{"RSV1 of a continuation", slices.Concat(frame(opText, "{"), frame(fin|0x40, "}")), []int{1002}},
	{"opcode 3", frame(fin|0x3, "{}"), []int{1002}},
	{"opcode 7", frame(fin|0x7, "{}"), []int{1002}},
	{"opcode 11", frame(fin|0xb, ""), []int{1002}},
	{"opcode 15", frame(fin|0xf, ""), []int{1002}},
	{"no mask", []byte{fin | opText, 2, '{', '}'}, []int{1002}},
	{"a ping without a mask", []byte{fin | opPing, 0}, []int{1002}},
	{"a close without a mask", []byte{fin | opClose, 2, 3, 232}, []int{1002}},
	{"binary", frame(fin|opBinary, "{}"), []int{1003}},
	{"fragmented binary", frame(opBinary, "{"), []int{1003}},
	{"a continuation without a start", frame(fin|opContinuation, "{}"), []int{1002}},
	{"a continuation of a whole message", slices.Concat(text(`{"type":"ack","after":"0"}`), frame(fin, "{}")), []int{1002}},
	{"a text between fragments", slices.Concat(frame(opText, "{"), text("{}")), []int{1002}},
	{"a binary between fragments", slices.Concat(frame(opText, "{"), frame(fin|opBinary, "{}")), []int{1002}},
	{"a fragmented ping", frame(opPing, "x"), []int{1002}},
	{"a fragmented close", frame(opClose, "\x03\xe8"), []int{1002}},
	{"a ping of 126 bytes", frame(fin|opPing, strings.Repeat("x", 126)), []int{1002}},
	{"a pong of 126 bytes", frame(fin|opPong, strings.Repeat("x", 126)), []int{1002}},
	{"a close of 126 bytes", frame(fin|opClose, "\x03\xe8"+strings.Repeat("x", 124)), []int{1002}},
	{"a length with its top bit set", announced(fin|opText, 1<<63), []int{1002}},
	{"a length with all bits set", announced(fin|opText, 1<<64-1), []int{1002}},
	{"a huge length", announced(fin|opText, 1<<62), []int{4413}},
	{"a length of 4 GiB and 2", announced(fin|opText, 1<<32+2), []int{4413}},
	{"a length far above the limit", announced(fin|opText, 1<<20), []int{4413}},
	{"too large in fragments", slices.Concat(frame(opText, strings.Repeat(" ", 100<<10)), frame(0, strings.Repeat(" ", 100<<10))), []int{4413}},
	{"bytes that are not UTF-8", text("{\"type\":\"\xc3\x28\"}"), []int{1007}},
	{"a surrogate", text("{\"type\":\"\xed\xa0\x80\"}"), []int{1007}},
	{"half a character", text("{\"type\":\"\xe2\x82"), []int{1007}},
	{"half a character at the end of a fragment", slices.Concat(frame(opText, "{\"\xe2"), frame(fin, "\"}")), []int{1007}},
	{"no JSON", text("hello"), []int{1007}},
	{"nothing", text(""), []int{1007}},
	{"empty fragments", slices.Concat(frame(opText, ""), frame(0, ""), frame(fin, "")), []int{1007}},

	{"close", frame(fin|opClose, ""), []int{1000, 1005}},
	{"close with a reason", frame(fin|opClose, "\x03\xe8bye, "+strings.Repeat("é", 59)), []int{1000}},
	{"close of one byte", frame(fin|opClose, "\x03"), []int{1002}},
	{"close with a reason that is not UTF-8", frame(fin|opClose, "\x03\xe8\xff"), []int{1002, 1007}},
	{"close between fragments", slices.Concat(frame(opText, "{"), frame(fin|opClose, "\x03\xe8")), []int{1000}},
	{"frames after a close", slices.Concat(frame(fin|opClose, "\x03\xe8"), text(sendText("alice", "x", "k"))), []int{1000}},
}

// announced returns the header of a frame whose payload never arrives.
func announced(first byte, length uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, length), 1, 2, 3, 4)
}

// Each of these closes the socket, opened or not, and sends no message.
func TestSocketCloses(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		other := s.socket("other", "")
		for _, c := range closes {
			for _, id := range []string{"alice", ""} {
				w := s.dialSocket(handshake{id: id})
				if id != "" {
					w.wantOpened(false)
				}
				go w.write(c.frames) // more than the server reads
				if got := w.endsWith(); !slices.Contains(c.codes, got) &&
					(id != "" || got != 4400) { // the first frame must be open
					s.Errorf("%s (opened: %v): closed with %d, want %d", c.name, id != "", got, c.codes)
				}
			}
		}
		if held := s.held("alice"); held != 0 {
			s.Errorf("%d messages were sent", held)
		}
		other.usable("other")
	})
}

// The server echoes every code that a close frame may carry (RFC 6455, 7.4, and IANA's
// registry), and answers any other with 1002.
func TestSocketCloseCodes(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		for _, code := range inboxtest.CloseCodes {
			w := s.socket("alice", "")
			w.write(frame(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code.Said))))
			if got := w.endsWith(); got != code.Heard {
				s.Errorf("%d was answered with %d, want %d", code.Said, got, code.Heard)
			}
		}
	})
}

// The server answers a close frame with the client's code and without a reason.
func TestSocketCloseReasons(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		for _, c := range closes {
			w := s.socket("alice", "")
			go w.write(c.frames)
			f, _ := w.next()
			if f.op != opClose || len(f.payload) > 125 || len(f.payload) > 2 && !utf8.Valid(f.payload[2:]) {
				s.Errorf("%s: %x %q", c.name, f.op, f.payload)
			}
			w.wantEnd()
		}
	})
}

// pieces splits a message into fragments of n bytes, with other frames around and between
// them.
func pieces(message string, n int, between ...[]byte) (frames []byte) {
	first := byte(opText)
	for len(message) > n {
		frames = slices.Concat(frames, slices.Concat(between...), frame(first, message[:n]))
		message, first = message[n:], opContinuation
	}
	return slices.Concat(frames, slices.Concat(between...), frame(fin|first, message))
}

func TestSocketFragments(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		s.open("bob")
		body := "in fragments: é, 名前, 😀"
		for n := 1; n <= 20; n++ { // also splits characters
			key := fmt.Sprint("k", n)
			w.write(pieces(sendText("bob", body, key), n))
			w.wantSent(key, false)
			s.poll("bob").wantMessage("alice", body)
		}
		// Empty fragments, with pings and pongs between them.
		w.write(pieces(sendText("bob", body, "k"), 7, frame(fin|opPong, "unsolicited")))
		w.wantSent("k", false)
		message := sendText("bob", body, "empty")
		w.write(frame(opText, ""), frame(0, ""), frame(0, message), frame(0, ""), frame(fin, ""))
		w.wantSent("empty", false)
		message = sendText("bob", body, "pinged")
		w.write(frame(opText, message[:9]), frame(fin|opPing, "now"))
		w.wantPong("now") // before the message is complete
		w.write(frame(fin|opPing, ""), frame(fin, message[9:]), frame(fin|opPing, "after"))
		w.wantPong("")
		w.wantSent("pinged", false)
		w.wantPong("after")
		// The largest message, in few and in many fragments.
		large := strings.Repeat("x", 64<<10)
		for _, n := range []int{1 << 20, 40 << 10, 1000} {
			key := fmt.Sprint("large-", n)
			w.write(pieces(sendText("alice", large, key), n))
			s.wantSentAll(w, []string{key})
		}
	})
}

// max-body applies to the decoded body, however it is written: escaped or in base64.
func TestSocketLargest(t *testing.T) {
	c := inboxhttp.Config{MaxBody: 1000}
	overEach(t, socketWires, config{Config: c}, func(s *server) {
		w := s.socket("alice", "")
		s.open("bob")
		for i, body := range []string{strings.Repeat("x", 1000), strings.Repeat("\n", 1000), strings.Repeat(`"`, 1000), strings.Repeat("é", 500)} {
			w.send("bob", body, fmt.Sprint(i))
			w.wantSent(fmt.Sprint(i), false)
			s.poll("bob").wantMessage("alice", body)
		}
		w.send("bob", strings.Repeat("x", 1001), "k")
		w.wantError("k", "too-large")
		w.write(frame(fin|opText, strings.Repeat(" ", 1<<20)))
		w.wantClose(4413)
	})
}

// Frames may arrive in packets of any size.
func TestSocketPackets(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		stream := slices.Concat(
			text(sendText("nobody", "x", "1")), frame(fin|opPing, ""), pieces(sendText("nobody", "abc", "2"), 10),
			text(sendText("nobody", strings.Repeat("x", 200), "3")), frame(fin|opPong, "x"), text(sendText("nobody", "", "4")))
		for _, size := range []int{1, 2, 3, 5, 7, 13, 100, 1000} {
			for packet := range slices.Chunk(stream, size) {
				w.write(packet)
			}
			w.wantError("1", "no-such-inbox")
			w.wantPong("")
			for _, key := range []string{"2", "3", "4"} {
				w.wantError(key, "no-such-inbox")
			}
		}
	})
}

// Many frames in one packet are answered in order, even more than the server reads or
// writes at once.
func TestSocketManyFramesAtOnce(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		for _, n := range []int{63, 64, 65, 128, 129, s.times(2000)} {
			var packet bytes.Buffer
			for _, key := range numbers(n) {
				packet.Write(text(sendText("nobody", "x", key)))
			}
			go w.write(packet.Bytes())
			for _, key := range numbers(n) {
				w.wantError(key, "no-such-inbox")
			}
		}
		w.usable("alice")
	})
}

// At any size of frames and packets relative to the buffers, the last frame is answered
// and so is the next. The buffers have 4 KiB; over TLS one byte is read ahead.
func TestSocketBufferBoundaries(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		sized := func(size int, key string) []byte {
			f := text(sendText("nobody", strings.Repeat("x", size-len(text(sendText("nobody", strings.Repeat("x", 200), key)))+200), key))
			if len(f) != size {
				s.Fatalf("a frame of %d bytes, want %d", len(f), size)
			}
			return f
		}
		for _, boundary := range []int{4096, 8192, 3 * 4096} {
			for d := -2; d <= 3; d++ {
				size := boundary + d
				w.write(sized(size, "one"))
				w.wantError("one", "no-such-inbox")
				w.write(sized(300, "a"), sized(size-300, "b")) // two that end at the boundary
				w.wantError("a", "no-such-inbox")
				w.wantError("b", "no-such-inbox")
				var many []byte // 64 or more that end at the boundary
				keys := numbers(size/200 + 1)
				for len(many)+800 < size {
					many = append(many, text(`{"type":"ack","after":"0"}`)...)
				}
				many = append(many, sized(size-len(many), keys[0])...)
				w.write(many)
				w.wantError(keys[0], "no-such-inbox")
			}
		}
		w.usable("alice")
	})
}

// An announced length costs the server nothing until the bytes arrive.
func TestSocketAnnouncedLengths(t *testing.T) {
	s := start(t, config{sockets: true, Config: inboxhttp.Config{MaxBody: 256 << 20}})
	s.open("alice")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 20 {
		w := s.socket(fmt.Sprint("peer-", i), "")
		w.write(announced(fin|opText, 256<<20), []byte("{"))
		w.write(frame(fin|opPing, "part of it"))
	}
	s.send("bob", "alice", "x")
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("20 announcements of 256 MiB took %d MiB", took>>20)
	}
	s.socket("carol", "").usable("carol")
}
