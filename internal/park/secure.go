package park

import (
	"crypto/tls"
	"net"
	"time"
)

// Secure returns the server's side of TLS over c. Unlike a connection of tls.Server, it
// can wait without a goroutine.
func Secure(c net.Conn, config *tls.Config) *tls.Conn {
	return tls.Server(&bottom{Conn: c, hello: new(hello)}, config)
}

// A bottom is the connection beneath a tls.Conn. While it is parked, its Read does not
// block but fails with ErrNothing, which is temporary: crypto/tls returns such an error
// and goes on with the next Read where it was, in the middle of a record too.
type bottom struct {
	net.Conn        // nil while it is parked
	hello    *hello // nil when it was read

	// While it is parked:
	spot    *Spot
	dry     bool      // the last read took all that the kernel had
	writeBy time.Time // deadline
	failed  error     // of a write: the others fail too, and wait for nobody
}

// parkable returns the bottom of a connection that Secure has made, or nil.
func parkable(c net.Conn) *bottom {
	if t, ok := c.(*tls.Conn); ok {
		b, _ := t.NetConn().(*bottom)
		return b
	}
	return nil
}

// NetConn returns the connection that c is on, or nil while it is parked.
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
	b.dry = n < len(p) && !b.spot.gone // the end is behind what is still to be read
	return n, err
}

func (b *bottom) Write(p []byte) (int, error) {
	if b.spot == nil {
		return b.Conn.Write(p)
	}
	if b.failed == nil {
		b.failed = b.spot.writeRaw(p, b.writeBy)
	}
	if b.failed != nil {
		return 0, b.failed
	}
	return len(p), nil
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

// nowhere is the local address of a parked connection, for which nobody asks.
type nowhere struct{}

func (nowhere) Network() string { return "tcp" }
func (nowhere) String() string  { return "" }

// nothing is the type of ErrNothing. It is a net.Error.
type nothing struct{}

func (nothing) Error() string   { return "nothing to read yet" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }

// peek finds out whether crypto/tls has decrypted something already: there is no other
// way than to read it.
func (s *Spot) peek() {
	*s.bottom = bottom{spot: s}
	n, err := s.secure.Read(s.first[:])
	s.peeked, s.drained = n == 1, err == ErrNothing
}

// readSecure reads what crypto/tls has decrypted and what the kernel has, until p is
// full or there is no more.
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
		err = nil // crypto/tls keeps the others, for the next read
	}
	return n, err
}
