package park

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrNothing is returned by ReadNow when there is nothing to read yet.
var ErrNothing error = nothing{}

// ReadNow reads without blocking. It returns ErrNothing if there is nothing to read.
func (s *Spot) ReadNow(p []byte) (n int, err error) {
	switch {
	case s.reader != nil:
		return s.reader.readNow(p)
	case s.secure != nil:
		return s.readSecure(p)
	}
	n, err = readFD(s.fd, p)
	s.drained = n < len(p)
	return n, err
}

// Read reads from the connection. It waits for data until deadline and then fails with
// os.ErrDeadlineExceeded.
func (s *Spot) Read(p []byte, deadline time.Time) (n int, err error) {
	if s.reader != nil {
		s.lot.workers.block()
		defer s.lot.workers.unblock()
		s.reader.conn.SetReadDeadline(deadline)
		n, err = s.reader.conn.Read(p)
		s.drained = n < len(p)
		return n, err
	}
	for {
		s.state.And(^uint32(canRead)) // ReadNow sees everything that has arrived before
		s.clearDry()
		if n, err = s.ReadNow(p); err != ErrNothing {
			return n, err
		}
		if err = s.await(Readable, canRead, deadline); err != nil {
			return 0, err
		}
	}
}

// Write writes all of p. It waits at most timeout for a client that does not read.
func (s *Spot) Write(p []byte, timeout time.Duration) error {
	if s.reader != nil {
		s.lot.workers.block()
		defer s.lot.workers.unblock()
		s.reader.conn.SetWriteDeadline(time.Now().Add(timeout))
		_, err := s.reader.conn.Write(p)
		return err
	}
	if s.secure != nil {
		s.bottom.writeBy = time.Now().Add(timeout)
		_, err := s.secure.Write(p)
		return err
	}
	n, err := writeFD(s.fd, p) // there is nearly always room
	if n == len(p) || err != nil {
		return err
	}
	return s.writeRaw(p[n:], time.Now().Add(timeout))
}

// Offer writes as much of p as the kernel takes without waiting, and returns how much
// that was. If Offer falls short, or if [Spot.Behind] reports true, call it again when a
// Watch for Writable runs the function. Without a poller Offer waits, as Write does.
func (s *Spot) Offer(p []byte, timeout time.Duration) (n int, err error) {
	switch {
	case s.reader != nil:
		return len(p), s.Write(p, timeout)
	case s.secure != nil:
		return s.offerSecure(p)
	}
	return writeFD(s.fd, p)
}

// Behind reports whether TLS has encrypted bytes that the kernel has not taken yet.
func (s *Spot) Behind() bool { return s.bottom != nil && len(s.bottom.rest) > 0 }

func (s *Spot) writeRaw(p []byte, deadline time.Time) error {
	for {
		s.state.And(^uint32(canWrite))
		n, err := writeFD(s.fd, p)
		if n == len(p) || err != nil {
			return err
		}
		p = p[n:]
		if err = s.await(canWrite, canWrite, deadline); err != nil {
			return err
		}
	}
}

// await asks the poller for watch and blocks until it reports want, or until deadline.
func (s *Spot) await(watch, want Events, deadline time.Time) error {
	if s.watched&watch == 0 {
		if err := s.watch(s.watched | watch); err != nil {
			return err
		}
	}
	woken := make(chan struct{}, 1)
	s.waiter.Store(&woken)
	defer s.waiter.Store(nil)
	if Events(s.state.Load())&want != 0 { // it happened before there was a waiter
		return nil
	}
	s.lot.workers.block()
	defer s.lot.workers.unblock()
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case <-woken:
		return nil
	case <-late.C:
		return os.ErrDeadlineExceeded
	}
}

// resume wakes a blocked await.
func (s *Spot) resume() {
	if w := s.waiter.Load(); w != nil {
		select {
		case *w <- struct{}{}:
		default:
		}
	}
}

// Linger ends the spot. It closes the connection as soon as the client has closed its
// end, or after limit. If a connection with unread bytes were closed immediately, the
// kernel would reset it and the client could lose the last bytes written.
func (s *Spot) Linger(limit time.Duration) {
	if s.closeWrite() != nil {
		s.Close()
		return
	}
	left, until := maxLinger, time.Now().Add(limit)
	s.run = func(s *Spot, e Events) {
		if !time.Now().Before(until) || e&(Readable|Gone) != 0 && !s.discard(&left) || s.Watch(Readable) != nil {
			s.Close()
		}
	}
	s.Rest(limit)
	if s.Watch(Readable) != nil {
		s.Close()
	}
}

// maxLinger bounds how many bytes Linger reads and discards.
const maxLinger = 1 << 20

var trash = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// discard reads and discards what there is, at most left bytes, and reports whether more
// may follow.
func (s *Spot) discard(left *int) bool {
	p := trash.Get().(*[4 << 10]byte)
	defer trash.Put(p)
	for *left > 0 {
		n, err := s.ReadNow(p[:])
		if *left -= n; err != nil {
			return err == ErrNothing
		}
	}
	return false
}

// alertTimeout bounds how long closing waits for a client that does not read.
const alertTimeout = 5 * time.Second

// closeWrite closes the sending side of the connection.
func (s *Spot) closeWrite() error {
	if s.reader == nil {
		if s.secure != nil {
			s.bottom.writeBy = time.Now().Add(alertTimeout)
			if err := s.secure.CloseWrite(); err != nil {
				return err
			}
			s.secure, s.bottom = nil, nil // discard the rest without decrypting it
		}
		return shutdownFD(s.fd)
	}
	half, ok := s.reader.conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Drained reports whether the last read left nothing, so that new bytes will cause
// another Readable.
func (s *Spot) Drained() bool { return s.drained && !s.gone }

// reader waits on a connection that the Lot does not watch.
type reader struct {
	conn    net.Conn
	started bool
	first   [1]byte
	has     bool // first contains a byte
	err     error
}

func (r *reader) start(s *Spot) {
	if !r.started {
		r.started = true
		go r.read(s)
	}
}

// read blocks in a read of one byte and posts Readable.
func (r *reader) read(s *Spot) {
	r.conn.SetReadDeadline(time.Time{})
	n, err := r.conn.Read(r.first[:])
	r.has, r.err = n == 1, err
	s.post(Readable)
}

// readNow returns the byte that read has read.
func (r *reader) readNow(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if !r.has || len(p) == 0 {
		return 0, ErrNothing
	}
	p[0] = r.first[0]
	r.has, r.started = false, false // the next Watch starts another read
	return 1, nil
}

// spare bounds how many connections are being duplicated at once, since each then has two
// descriptors. A server reserves at least this many.
var spare = make(chan struct{}, MaxSpare)

// MaxSpare is how many descriptors all Lots of a process need in addition to one per
// connection.
const MaxSpare = 16

// retryDuplicate calls f, which creates a second descriptor, and retries while no descriptor
// is free.
func retryDuplicate(f func() error) error {
	const limit, pause = 10 * time.Second, 5 * time.Millisecond
	spare <- struct{}{}
	defer func() { <-spare }()
	for begun := time.Now(); ; time.Sleep(pause) {
		err := f()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || time.Since(begun) > limit {
			return err
		}
	}
}

// take closes c and returns a duplicate descriptor of its connection, which the caller
// owns.
func take(c net.Conn) (fd int, err error) {
	defer c.Close()
	raw, err := kernelConn(c).SyscallConn()
	if err != nil {
		return 0, err
	}
	err = retryDuplicate(func() (err error) {
		if outer := raw.Control(func(old uintptr) { fd, err = dupFD(int(old)) }); outer != nil {
			return outer
		}
		return err
	})
	return fd, err
}

// kernelConn returns the kernel's connection beneath all wrappers of c, or nil.
func kernelConn(c net.Conn) syscall.Conn {
	for c != nil {
		if k, ok := c.(syscall.Conn); ok {
			return k
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = outer.NetConn()
	}
	return nil
}

// newConn returns a connection for fd. It always closes fd.
func newConn(fd int) (c net.Conn, err error) {
	f := os.NewFile(uintptr(fd), "connection")
	err = retryDuplicate(func() error {
		c, err = net.FileConn(f) // with a new descriptor
		return err
	})
	f.Close()
	if err == nil && c.RemoteAddr() == nil { // the client has reset it
		c.Close()
		return nil, syscall.ECONNRESET
	}
	return c, err
}
