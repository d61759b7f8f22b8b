package socket

import (
	"bufio"
	"encoding/binary"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// work is what a socket needs only during a run. It comes from a pool.
type work struct {
	s      *Socket
	out    []byte    // frames to be written
	until  time.Time // write deadline of this run; zero before the first write
	failed bool      // a write has failed

	buf    *bufio.Reader
	head   [ws.MaxHeaderSize]byte
	begun  bool      // a frame has begun: wait for its rest
	waits  time.Time // deadline for that
	waited bool      // this run has waited
}

var works = sync.Pool{New: func() any {
	w := new(work)
	w.buf = bufio.NewReaderSize(w, 4<<10)
	return w
}}

func (s *Socket) takeWork() {
	s.work = works.Get().(*work)
	s.work.s = s
}

func (s *Socket) freeWork() {
	w := s.work
	s.work = nil
	if cap(w.out) > 4*flushAt {
		return // do not keep the buffer of a large message
	}
	w.buf.Reset(w)
	w.s, w.out, w.waited, w.until, w.failed = nil, w.out[:0], false, time.Time{}, false
	works.Put(w)
}

// Send sends the message that build appends to its argument. The message goes out at the
// end of the run, or when enough is pending; only then can Send fail, with ErrGone.
func (s *Socket) Send(build func([]byte) []byte) error {
	// Most messages have a header of this size and need not be moved.
	const header = 4
	start := len(s.out)
	s.out = build(append(s.out, make([]byte, header)...))
	text := s.out[start+header:]
	if size := ws.HeaderSize(ws.Header{Length: int64(len(text))}); size > header {
		s.out = append(s.out, make([]byte, size-header)...)
		copy(s.out[start+size:], text)
	} else if size < header {
		s.out = append(s.out[:start+size], text...)
	}
	putHeader(s.out[start:], ws.OpText, len(text))
	return s.flushFrom(flushAt)
}

// SendLong sends a message of length bytes that need not be in memory at once: build may
// pass parts of it to write before it returns the rest.
func (s *Socket) SendLong(length int, build func(to []byte, write func(part []byte) error) []byte) error {
	size := ws.HeaderSize(ws.Header{Length: int64(length)})
	start := len(s.out)
	s.out = append(s.out, make([]byte, size)...)
	putHeader(s.out[start:], ws.OpText, length)
	s.out = build(s.out, s.write)
	return s.flushFrom(flushAt)
}

// control appends a control frame to the output.
func (s *Socket) control(op ws.OpCode, payload []byte) {
	s.out = append(s.out, 0, 0)
	putHeader(s.out[len(s.out)-2:], op, len(payload))
	s.out = append(s.out, payload...)
}

// putHeader writes the header of an unfragmented, unmasked frame (RFC 6455, 5.2).
func putHeader(to []byte, op ws.OpCode, length int) {
	const fin = 0x80
	to[0] = fin | byte(op)
	switch {
	case length < 126:
		to[1] = byte(length)
	case length < 1<<16:
		to[1] = 126
		binary.BigEndian.PutUint16(to[2:], uint16(length))
	default:
		to[1] = 127
		binary.BigEndian.PutUint64(to[2:], uint64(length))
	}
}

// Flush writes all pending output. If it returns nil, the kernel has accepted all of it,
// unless the socket is patient.
// Otherwise the error is ErrGone.
func (s *Socket) Flush() error { return s.flushFrom(1) }

// flushFrom writes the pending output if it has at least size bytes.
func (s *Socket) flushFrom(size int) error {
	if !s.failed && len(s.out) < size {
		return nil
	}
	err := s.write(s.out)
	s.out = s.out[:0]
	return err
}

// write writes to the connection. The client must read what one run writes within
// writeTimeout, except for what the kernel buffers. After an error nothing more is
// written.
func (s *Socket) write(part []byte) error {
	if s.options.Patient && !s.failed {
		if err := s.offer(part, time.Now()); err != nil {
			s.failed = true
			return err
		}
		return nil
	}
	if s.until.IsZero() {
		s.until = time.Now().Add(writeTimeout)
	}
	if s.failed || len(part) > 0 && s.spot.Write(part, time.Until(s.until)) != nil {
		s.failed = true
		return ErrGone
	}
	return nil
}

// closeBody returns an empty body for a code that a frame must not carry.
func closeBody(c Close) []byte {
	if c.Code == ws.StatusNoStatusRcvd {
		return nil
	}
	return ws.NewCloseFrameBody(c.Code, c.Reason)
}
