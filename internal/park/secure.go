package park

import (
	"crypto/tls"
	"net"
	"os"
	"time"
)

// Secure returns the server's side of a TLS connection over c. Unlike the result of
// tls.Server, it can be parked.
func Secure(c net.Conn, config *tls.Config) *tls.Conn {
	return tls.Server(&bottom{Conn: c, hello: new(hello)}, config)
}

// A bottom is the connection beneath a tls.Conn. While it is parked, Read does not block
// but fails with ErrNothing, a temporary error. crypto/tls passes temporary errors on
// without recording them, so the next Read continues even in the middle of a record.
type bottom struct {
	net.Conn        // nil while it is parked
	hello    *hello // nil once the first record was read

	// Only while it is parked:
	spot    *Spot
	dry     bool      // the last read emptied the kernel's buffer
	writeBy time.Time // write deadline
	failed  error     // first error of a write; later writes fail with it immediately
	keeps   bool      // Offer is writing: nothing waits
	rest    []byte    // encrypted by Offer, but not taken by the kernel yet
}

// parkable returns the bottom of a connection from Secure, or nil.
func parkable(c net.Conn) *bottom {
	if t, ok := c.(*tls.Conn); ok {
		b, _ := t.NetConn().(*bottom)
		return b
	}
	return nil
}

// NetConn returns the wrapped connection, or nil while it is parked.
func (b *bottom) NetConn() net.Conn { return b.Conn }

func (b *bottom) Read(p []byte) (int, error) {
	if b.hello != nil {
		n, over, err := b.hello.read(b.Conn, p)
		if over {
			b.hello = nil
		}
		return n, err
	}
	if b.spot == nil {
		return b.Conn.Read(p)
	}
	if b.dry {
		return 0, ErrNothing
	}
	n, err := readFD(b.spot.fd, p)
	b.dry = n < len(p) && !b.spot.gone // after Gone, the end may follow unread bytes
	return n, err
}

func (b *bottom) Write(p []byte) (int, error) {
	if b.spot == nil {
		return b.Conn.Write(p)
	}
	switch {
	case b.failed != nil:
	case b.keeps, len(b.rest) > 0:
		b.failed = b.keep(p)
	default:
		b.failed = b.spot.writeRaw(p, b.writeBy)
	}
	if b.failed != nil {
		return 0, b.failed
	}
	return len(p), nil
}

// maxRest bounds what bottom keeps. Offer encrypts no more than one record beyond what
// the kernel takes; answers to key updates may follow it.
const maxRest = 64 << 10

// keep writes what the kernel takes and keeps the rest.
func (b *bottom) keep(p []byte) error {
	if len(b.rest) == 0 {
		n, err := writeFD(b.spot.fd, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if len(b.rest)+len(p) > maxRest {
		return os.ErrDeadlineExceeded
	}
	b.rest = append(b.rest, p...)
	return nil
}

// push writes what was kept, as far as the kernel takes it.
func (b *bottom) push() error {
	if len(b.rest) == 0 || b.failed != nil {
		return b.failed
	}
	n, err := writeFD(b.spot.fd, b.rest)
	if b.failed = err; n == len(b.rest) {
		b.rest = nil
	} else {
		b.rest = b.rest[n:]
	}
	return err
}

// offerSecure encrypts a record at a time, as long as the kernel takes all of it.
func (s *Spot) offerSecure(p []byte) (n int, err error) {
	const record = 16 << 10
	b := s.bottom
	if err := b.push(); err != nil {
		return 0, err
	}
	b.keeps = true
	defer func() { b.keeps = false }()
	for n < len(p) && len(b.rest) == 0 {
		m, err := s.secure.Write(p[n:min(n+record, len(p))])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (b *bottom) Close() error {
	if b.spot == nil {
		return b.Conn.Close()
	}
	closeFD(b.spot.fd)
	return nil
}

func (b *bottom) LocalAddr() net.Addr {
	if b.spot == nil {
		return b.Conn.LocalAddr()
	}
	return nowhere{}
}

func (b *bottom) RemoteAddr() net.Addr {
	if b.spot == nil {
		return b.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(b.spot.remote)
}

func (b *bottom) SetDeadline(t time.Time) error {
	if b.spot == nil {
		return b.Conn.SetDeadline(t)
	}
	b.writeBy = t
	return nil
}

func (b *bottom) SetReadDeadline(t time.Time) error {
	if b.spot == nil {
		return b.Conn.SetReadDeadline(t)
	}
	return nil
}

func (b *bottom) SetWriteDeadline(t time.Time) error {
	if b.spot == nil {
		return b.Conn.SetWriteDeadline(t)
	}
	b.writeBy = t
	return nil
}

// nowhere is the local address of a parked connection. Nothing uses it.
type nowhere struct{}

func (nowhere) Network() string { return "tcp" }
func (nowhere) String() string  { return "" }

// nothing is the type of ErrNothing. It implements net.Error.
type nothing struct{}

func (nothing) Error() string   { return "nothing to read yet" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }

// peek checks for bytes that crypto/tls has already decrypted. The only way to find out
// is to read one.
func (s *Spot) peek() {
	*s.bottom = bottom{spot: s}
	n, err := s.secure.Read(s.first[:])
	s.peeked, s.drained = n == 1, err == ErrNothing
}

// readSecure reads decrypted bytes until p is full or the kernel has no more.
func (s *Spot) readSecure(p []byte) (n int, err error) {
	if s.peeked && len(p) > 0 {
		n, s.peeked = copy(p, s.first[:]), false
	}
	for n < len(p) {
		var m int
		m, err = s.secure.Read(p[n:])
		if n += m; err != nil {
			break
		}
	}
	s.drained = err == ErrNothing
	if n > 0 {
		err = nil // crypto/tls returns other errors again on the next read
	}
	return n, err
}
