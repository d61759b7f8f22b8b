package park

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// readOne is where a connection without a poller waits.
func (s *Spot) readOne() {
	s.conn.SetReadDeadline(time.Time{})
	n, err := s.conn.Read(s.first[:])
	s.hasFirst, s.firstErr = n == 1, err
	s.post(Readable)
}

// ErrNothing is returned by ReadNow when there is nothing to read yet.
var ErrNothing = errors.New("nothing to read yet")

// ReadNow reads what is there, or fails with ErrNothing. After that, whoever
// needs the rest of something may Read and wait for it.
func (s *Spot) ReadNow(p []byte) (n int, err error) {
	if s.fd == unwatched {
		return s.readFirst(p)
	}
	n, err = readFD(s.fd, p)
	s.drained = n < len(p)
	return n, err
}

// readFirst takes over from readOne, once.
func (s *Spot) readFirst(p []byte) (int, error) {
	if s.firstErr != nil {
		return 0, s.firstErr
	}
	if !s.hasFirst || len(p) == 0 {
		return 0, ErrNothing
	}
	p[0] = s.first[0]
	s.hasFirst = false
	s.watched = 0 // the next Watch starts another readOne
	return 1, nil
}

// Read reads from the connection. If there is nothing it waits until deadline.
func (s *Spot) Read(p []byte, deadline time.Time) (n int, err error) {
	if s.fd != unwatched {
		if n, err = s.ReadNow(p); err != ErrNothing {
			return n, err
		}
	}
	c, err := s.Conn()
	if err != nil {
		return 0, err
	}
	c.SetReadDeadline(deadline)
	n, err = c.Read(p)
	s.drained = n < len(p)
	return n, err
}

// Write writes all of p. It waits at most for timeout, for a client that does not
// read.
func (s *Spot) Write(p []byte, timeout time.Duration) error {
	if s.fd != unwatched { // nearly always there is room
		n, err := writeFD(s.fd, p)
		if n == len(p) || err != nil {
			return err
		}
		p = p[n:]
	}
	c, err := s.Conn()
	if err != nil {
		return err
	}
	c.SetWriteDeadline(time.Now().Add(timeout))
	_, err = c.Write(p)
	return err
}

// Conn is the connection for whoever has to wait for it. It lasts until the run
// ends.
func (s *Spot) Conn() (net.Conn, error) {
	if s.conn != nil {
		return s.conn, nil
	}
	fd, err := dupFD(s.fd)
	if err != nil {
		return nil, err
	}
	s.conn, err = newConn(fd)
	return s.conn, err
}

func (s *Spot) dropConn() {
	if s.fd != unwatched && s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// newConn makes a connection of a descriptor, and closes that in any case.
func newConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close() // net makes its own
	c, err := net.FileConn(f)
	if err == nil && c.RemoteAddr() == nil { // nor has one that was reset an address
		c.Close()
		return nil, syscall.ECONNRESET
	}
	return c, err
}

// Control calls f with the descriptor of a connection that the Lot Watches.
func (s *Spot) Control(f func(fd uintptr)) { f(uintptr(s.fd)) }

// Drained reports whether the last read took all that there was, so that another
// Readable will come for what comes now.
func (s *Spot) Drained() bool { return s.drained && !s.gone }
