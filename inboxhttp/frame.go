package inboxhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/mailru/easyjson/jlexer"
	"github.com/mailru/easyjson/jwriter"

	"inbox"
	"inbox/internal/park"
)

// flushAt is how much a socket writes at once, about.
const flushAt = 64 << 10

// atOnce is how many frames a socket reads before it looks at anything else.
const atOnce = 64

// read takes what the client has sent and answers it in out.
func (s *socket) read(now time.Time, out *frames) error {
	in := newSocketReader(s, out)
	defer in.free()
	for n := 1; ; n++ {
		in.waits = s.waits(now)
		header, err := ws.ReadHeader(in.buf)
		if err != nil {
			return in.failed(err)
		}
		s.pinged, s.deadline = false, s.heard(now)
		if err := s.frame(header, now, in, out); err != nil {
			return err
		}
		if in.buf.Buffered() == 0 && len(s.early) == 0 {
			if s.spot.Drained() || n >= atOnce {
				return nil
			}
			in.begun = false
		}
		now = time.Now()
		if n%atOnce == 0 && s.receiver != nil { // a client that never pauses gets its mail too
			if err := s.deliver(now, out); err != nil {
				return err
			}
		}
	}
}

// waits is until when the rest of a frame that begins now is waited for.
func (s *socket) waits(now time.Time) time.Time {
	switch {
	case s.receiver == nil:
		return s.deadline
	case s.fragmented:
		return s.begun.Add(frameTimeout)
	}
	return now.Add(frameTimeout)
}

// heard is the time of the next ping, or of the open frame as long as there was
// none.
func (s *socket) heard(now time.Time) time.Time {
	if s.receiver == nil {
		return s.deadline
	}
	return now.Add(pingEvery)
}

// frame reads the rest of one frame.
func (s *socket) frame(header ws.Header, now time.Time, in *socketReader, out *frames) error {
	state := ws.StateServerSide
	if s.fragmented {
		state |= ws.StateFragmented
	}
	if err := ws.CheckHeader(header, state); err != nil {
		return closing{ws.StatusProtocolError, err.Error()}
	}
	if header.OpCode.IsControl() {
		return s.control(header, in, out)
	}
	if header.OpCode == ws.OpBinary {
		return closing{ws.StatusUnsupportedData, "frames are text"}
	}
	if header.Length > int64(s.h.maxFrame-len(s.fragment)) {
		return closing{closeTooLarge, "a message is larger than this server takes"}
	}
	message := in.message(s.fragment)
	if err := in.payload(message, header); err != nil {
		return err
	}
	if !header.Fin {
		if !s.fragmented {
			s.fragmented, s.begun = true, now
		}
		s.fragment = append(make([]byte, 0, message.Len()), message.Bytes()...)
		return nil
	}
	s.fragmented, s.fragment = false, nil
	return s.handle(message.Bytes(), now, out)
}

func (s *socket) control(header ws.Header, in *socketReader, out *frames) error {
	message := in.message(nil)
	if err := in.payload(message, header); err != nil {
		return err
	}
	payload := message.Bytes()
	switch header.OpCode {
	case ws.OpPing:
		out.control(ws.OpPong, payload)
		if out.Len() > flushAt {
			return s.write(out)
		}
	case ws.OpClose:
		if len(payload) == 0 {
			return closing{ws.StatusNormalClosure, ""}
		}
		code, reason := ws.ParseCloseFrameData(payload)
		if len(payload) < 2 {
			return closing{ws.StatusProtocolError, "a close frame of one byte"}
		}
		if err := ws.CheckCloseFrameData(code, reason); err != nil {
			return closing{ws.StatusProtocolError, err.Error()}
		}
		return closing{code, ""}
	}
	return nil
}

// request is what a client says, in one text frame.
type request struct {
	kind, id, password, after, to, key string
	body                               []byte
	hasAfter, hasBody, hasBody64       bool
}

func (q *request) parse(message []byte) error {
	l := jlexer.Lexer{Data: message}
	// The lexer is fast, and lenient with numbers and control characters. Neither
	// stands in what our own clients send.
	strict := slices.ContainsFunc(message, func(c byte) bool { return c < ' ' })
	l.Delim('{')
	for l.Ok() && !l.IsDelim('}') {
		name := l.UnsafeFieldName(false)
		l.WantColon()
		switch name {
		case "type":
			q.kind = l.String()
		case "id":
			q.id = l.String()
		case "password":
			q.password = l.String()
		case "after":
			q.after, q.hasAfter = l.String(), true
		case "to":
			q.to = l.String()
		case "key":
			q.key = l.String()
		case "body":
			q.body, q.hasBody = append([]byte(nil), l.UnsafeBytes()...), true
		case "body64":
			q.body, q.hasBody64 = append([]byte(nil), l.UnsafeBytes()...), true
		default: // of a later version
			strict = true
			l.SkipRecursive()
		}
		l.WantComma()
	}
	l.Delim('}')
	l.Consumed()
	if err := l.Error(); err != nil {
		return err
	}
	if strict && !json.Valid(message) {
		return errors.New("not JSON")
	}
	return nil
}

// handle does what a client says.
func (s *socket) handle(message []byte, now time.Time, out *frames) error {
	if !utf8.Valid(message) {
		return closing{ws.StatusInvalidFramePayloadData, "a message is UTF-8"}
	}
	var q request
	if err := q.parse(message); err != nil {
		return closing{ws.StatusInvalidFramePayloadData, "a message is a JSON object"}
	}
	if s.receiver == nil {
		if q.kind != "open" {
			return closing{closeBadRequest, "the first frame is open"}
		}
		return s.handleOpen(&q, now, out)
	}
	switch q.kind {
	case "send":
		out.sent(&q, s.send(&q))
		if out.Len() > flushAt {
			return s.write(out)
		}
		return nil
	case "ack":
		after, err := inbox.ParseCursor(q.after)
		if err != nil {
			return err
		}
		s.acked, s.look = after, true
		return nil
	default:
		return closing{closeBadRequest, "a frame is send or ack"}
	}
}

func (s *socket) handleOpen(q *request, now time.Time, out *frames) error {
	if err := inbox.CheckID(q.id); err != nil {
		return badCredentials(sentence(err))
	}
	if err := inbox.CheckPassword(q.password); err != nil {
		return badCredentials(sentence(err))
	}
	after := inbox.Cursor{}
	if q.hasAfter {
		var err error
		if after, err = inbox.ParseCursor(q.after); err != nil {
			return err
		}
	}
	p := inbox.Peer{ID: q.id, Secret: s.h.Pepper.Secret(q.id, q.password)}
	s.open(p, after, inbox.NewReceiverFunc(s.spot.Wake))
	s.deadline = now.Add(pingEvery)
	return s.deliver(now, out) // before the frames that may follow are answered
}

// send carries out a send; what it returns becomes the answer.
func (s *socket) send(q *request) error {
	if err := inbox.CheckID(q.to); err != nil {
		return badRecipient(sentence(err))
	}
	if q.key != "" {
		if err := inbox.CheckKey(q.key); err != nil {
			q.key = "" // not worth repeating
			return problem{http.StatusBadRequest, "bad-key", sentence(err)}
		}
	}
	if q.hasBody == q.hasBody64 {
		return badRequest("A send has either body or body64.")
	}
	if q.hasBody64 {
		n, err := base64.StdEncoding.Decode(q.body, q.body)
		if err != nil {
			return badRequest("The body64 is not valid base64.")
		}
		q.body = q.body[:n]
	}
	if len(q.body) > s.h.MaxBody {
		return problem{http.StatusRequestEntityTooLarge, "too-large", "The body is larger than this server takes."}
	}
	replayed, err := s.h.Store.Send(context.Background(), s.peer, q.to, inbox.Draft{Key: q.key, Body: q.body})
	s.h.logStore(err)
	if err == nil && replayed {
		return errReplayed
	}
	return err
}

// errReplayed is success, with a remark.
var errReplayed = errors.New("replayed")

// frames is what a socket is going to write.
type frames struct{ bytes.Buffer }

var framesPool = sync.Pool{New: func() any { return new(frames) }}

func newFrames() *frames { return framesPool.Get().(*frames) }

func (f *frames) free() {
	if f.Cap() <= 2*flushAt { // one large message does not stay in the pool
		f.Reset()
		framesPool.Put(f)
	}
}

func (f *frames) control(op ws.OpCode, payload []byte) {
	ws.WriteHeader(f, ws.Header{Fin: true, OpCode: op, Length: int64(len(payload))})
	f.Write(payload)
}

// text appends a frame with the JSON that w holds.
func (f *frames) text(j *jwriter.Writer) {
	ws.WriteHeader(f, ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(j.Size())})
	j.DumpTo(f) // a bytes.Buffer does not fail
}

func (f *frames) opened(b inbox.Batch) {
	var j jwriter.Writer
	j.RawString(`{"type":"opened","cursor":"`)
	j.RawString(b.Start().String())
	j.RawByte('"')
	if b.Reset {
		j.RawString(`,"reset":true`)
	}
	j.RawByte('}')
	f.text(&j)
}

func (f *frames) message(m inbox.Message) {
	var j jwriter.Writer
	appendMessage(&j, `"type":"message",`, m)
	f.text(&j)
}

// sent answers a send.
func (f *frames) sent(q *request, err error) {
	j := jwriter.Writer{NoEscapeHTML: true}
	if err == nil || err == errReplayed {
		j.RawString(`{"type":"sent"`)
		if err != nil {
			j.RawString(`,"replayed":true`)
		}
	} else {
		p := problemOf(err)
		j.RawString(`{"type":"error","code":"` + p.code + `","status":` + strconv.Itoa(p.status))
	}
	if q.key != "" {
		j.RawString(`,"key":`)
		j.String(q.key)
	}
	j.RawByte('}')
	f.text(&j)
}

// closeBody leaves the code out where a frame cannot carry it.
func closeBody(c closing) []byte {
	if c.code == ws.StatusNoStatusRcvd {
		return nil
	}
	return ws.NewCloseFrameBody(c.code, c.reason)
}

// linger closes the sending half and waits for the client's, within bounds.
func linger(conn net.Conn) {
	const patience, most = 2 * time.Second, 1 << 20
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, io.LimitReader(conn, most))
}

// socketReader reads frames, in buffers that are only lent: a socket that is
// silent has none.
type socketReader struct {
	s     *socket
	out   *frames // what is to be said before anything is waited for
	buf   *bufio.Reader
	msg   bytes.Buffer
	begun bool      // a frame: its rest is waited for
	waits time.Time // until then
	limit time.Time // the deadline that is set
}

var readerPool = sync.Pool{New: func() any {
	r := new(socketReader)
	r.buf = bufio.NewReaderSize(r, 4<<10)
	return r
}}

func newSocketReader(s *socket, out *frames) *socketReader {
	r := readerPool.Get().(*socketReader)
	r.s, r.out = s, out
	r.buf.Reset(r)
	return r
}

func (r *socketReader) free() {
	if !r.limit.IsZero() {
		r.s.conn.SetReadDeadline(time.Time{})
	}
	if r.msg.Cap() > flushAt {
		r.msg = bytes.Buffer{}
	}
	r.s, r.out, r.begun, r.limit = nil, nil, false, time.Time{}
	readerPool.Put(r)
}

// Read takes what there is. The rest of a frame that has begun is waited for.
func (r *socketReader) Read(p []byte) (int, error) {
	if s := r.s; len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		r.begun = true
		return n, nil
	}
	if !r.begun {
		r.begun = true
		return r.s.spot.ReadNow(p)
	}
	if r.out.Len() > 0 {
		if err := r.s.write(r.out); err != nil {
			return 0, err
		}
	}
	if r.limit != r.waits {
		r.limit = r.waits
		r.s.conn.SetReadDeadline(r.limit)
	}
	return r.s.spot.Read(p)
}

// failed says what an error of a read means for the socket.
func (r *socketReader) failed(err error) error {
	switch {
	case errors.Is(err, park.ErrNothing):
		return nil // a hint that was not true any more
	case errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
		return closing{ws.StatusProtocolError, err.Error()}
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		if r.s.receiver == nil {
			return errNoOpen
		}
		return closing{ws.StatusPolicyViolation, "a frame took too long to arrive"}
	}
	return errGone
}

// message is a buffer that begins with what came before.
func (r *socketReader) message(fragment []byte) *bytes.Buffer {
	r.msg.Reset()
	r.msg.Write(fragment)
	return &r.msg
}

// payload reads a frame's payload behind what is in the buffer. Memory is taken
// as the bytes come, not as the header announces them.
func (r *socketReader) payload(to *bytes.Buffer, header ws.Header) error {
	start := to.Len()
	if _, err := io.CopyN(to, r.buf, header.Length); err != nil {
		return r.failed(err)
	}
	ws.Cipher(to.Bytes()[start:], header.Mask, 0)
	return nil
}
