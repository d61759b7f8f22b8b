package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// strangerTimeout bounds a connection without an allocation.
	strangerTimeout = 30 * time.Second
	// silence bounds the time for which a client with an allocation may send nothing.
	// Clients refresh allocations every ten minutes.
	silence = 12 * time.Minute
	// frameTimeout bounds the time from the first byte of a frame to the last.
	frameTimeout = 10 * time.Second
	// writeTimeout bounds a write to a client that does not read.
	writeTimeout = 10 * time.Second

	// sendBuffer is the send buffer for a slow client, in bytes. At 2 Mbit/s it is half a
	// second; more data would arrive too late to be useful.
	sendBuffer = 128 << 10

	frameHeader = 4

	// maxConnections bounds the connections of all clients. There are fewer virtual ports
	// than that.
	maxConnections = 20_000
)

// intake passes connections to pion. It keeps track of them, since pion's Close only ends
// UDP.
type intake struct { // nil: connections are added by add
	s      *Server
	ln     net.Listener // nil: connections are passed to add
	added  chan *stream
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards conns
	conns map[uint64]*stream
}

func newIntake(s *Server, ln net.Listener) *intake {
	return &intake{s: s, ln: ln, added: make(chan *stream), closed: make(chan struct{}), conns: make(map[uint64]*stream)}
}

// Accept returns the next connection.
func (in *intake) Accept() (net.Conn, error) {
	if in.ln == nil {
		select {
		case c := <-in.added:
			return c, nil
		case <-in.closed:
			return nil, net.ErrClosed
		}
	}
	for {
		c, err := in.ln.Accept()
		if err != nil {
			select {
			case <-in.closed:
				return nil, net.ErrClosed
			case <-time.After(50 * time.Millisecond): // already reset, or out of file descriptors
				continue
			}
		}
		if c := in.wrap(c); c != nil {
			return c, nil
		}
	}
}

// add passes a connection to Accept.
func (in *intake) add(c net.Conn) {
	if wrapped := in.wrap(c); wrapped != nil {
		select {
		case in.added <- wrapped:
		case <-in.closed:
			wrapped.Close()
		}
	}
}

// wrap registers a connection. If there are too many, or the intake is closed, it closes
// c and returns nil.
func (in *intake) wrap(c net.Conn) *stream {
	limitSendBuffer(c)
	w := &stream{Conn: c, in: in, r: c, id: connections.Add(1), source: source(c.RemoteAddr())}
	w.since.Store(time.Now().UnixNano())
	if in.ln != nil { // TLS already buffers a record
		w.r = bufio.NewReaderSize(c, 2<<10)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	select {
	case <-in.closed:
		c.Close()
		return nil
	default:
	}
	f := &in.s.Figures
	if f.Connections.Load() >= maxConnections || !in.s.connected.Take(w.source, 1) {
		f.RefusedAddress.Add(1)
		c.Close()
		return nil
	}
	in.conns[w.id] = w
	f.Connections.Add(1)
	return w
}

// Close ends Accept.
func (in *intake) Close() error {
	err := error(nil)
	in.once.Do(func() {
		in.mu.Lock()
		close(in.closed)
		in.mu.Unlock()
		if in.ln != nil {
			err = in.ln.Close()
		}
	})
	return err
}

// Addr exists to implement [net.Listener].
func (in *intake) Addr() net.Addr { return localAddress(0) }

func (in *intake) closeConns() {
	in.mu.Lock()
	all := make([]*stream, 0, len(in.conns))
	for _, c := range in.conns {
		all = append(all, c)
	}
	in.mu.Unlock()
	// Close in parallel: TLS waits seconds for each client that does not read.
	var closing sync.WaitGroup
	for _, c := range all {
		closing.Go(func() { c.Close() })
	}
	closing.Wait()
}

// A stream is a connection with the deadlines that pion does not set. Each Read returns
// one frame. pion's own framing recurses for each piece that arrives, so single bytes
// would need a stack of many megabytes.
type stream struct {
	net.Conn
	in        *intake
	r         io.Reader
	id        uint64
	source    netip.Addr   // of the client
	since     atomic.Int64 // when its last allocation ended or it was opened, in Unix nanoseconds
	allocated atomic.Bool  // has an allocation
	once      sync.Once
	err       error
}

var errFrame = errors.New("relay: frame is neither STUN nor ChannelData, or too long")

// Read reads one whole frame into p.
func (c *stream) Read(p []byte) (int, error) {
	n, err := c.readFrame(p)
	if err != nil {
		c.Close()
		return n, err
	}
	return c.in.s.anyFamily(p, n), nil
}

func (c *stream) readFrame(p []byte) (int, error) {
	by := time.Now().Add(silence)
	if !c.allocated.Load() {
		by = time.Unix(0, c.since.Load()).Add(strangerTimeout)
	}
	c.SetReadDeadline(by)
	got, err := io.ReadAtLeast(c.r, p[:frameHeader], 1)
	if err != nil {
		return 0, err
	}
	c.SetReadDeadline(earlier(by, time.Now().Add(frameTimeout)))
	if _, err := io.ReadFull(c.r, p[got:frameHeader]); err != nil {
		return 0, err
	}
	n := frameLength(p)
	if n == 0 || n > len(p) {
		return 0, errFrame
	}
	if _, err := io.ReadFull(c.r, p[frameHeader:n]); err != nil {
		return 0, err
	}
	return n, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// frameLength returns the length of a frame with padding, or 0 if the header is invalid.
func frameLength(header []byte) int {
	length := int(binary.BigEndian.Uint16(header[2:]))
	switch {
	case header[0]&0xC0 == 0 && length%4 == 0:
		return stunHeader + length
	case header[0]&0xF0 == 0x40: // channels 0x4000 to 0x4FFF
		return frameHeader + (length+3)&^3
	}
	return 0
}

// Write writes a whole frame. After a partial write, it closes the connection.
func (c *stream) Write(p []byte) (int, error) {
	if len(p) >= 2 && binary.BigEndian.Uint16(p) == allocateSuccess {
		c.allocated.Store(true)
	}
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Close()
	}
	return n, err
}

// Close closes the connection.
func (c *stream) Close() error {
	c.once.Do(func() {
		c.in.mu.Lock()
		delete(c.in.conns, c.id)
		c.in.mu.Unlock()
		c.in.s.connected.Give(c.source, 1)
		c.in.s.Figures.Connections.Add(-1)
		c.err = c.Conn.Close()
	})
	return c.err
}

// lostAllocation limits the connection to strangerTimeout again, since its allocation has
// ended.
func (c *stream) lostAllocation() {
	c.since.Store(time.Now().UnixNano())
	c.allocated.Store(false)
	c.SetReadDeadline(time.Now().Add(strangerTimeout))
}

// LocalAddr returns an address that is unique to the connection. pion identifies clients
// by their addresses, which two clients behind proxies may share.
func (c *stream) LocalAddr() net.Addr { return localAddress(c.id) }

// connections counts connections, to number them uniquely.
var connections atomic.Uint64

func localAddress(id uint64) *net.TCPAddr {
	ip := make(net.IP, net.IPv6len)
	binary.BigEndian.PutUint64(ip[8:], id)
	return &net.TCPAddr{IP: ip}
}

// of returns the connection with a local address, or nil.
func (in *intake) of(local net.Addr) *stream {
	t, ok := local.(*net.TCPAddr)
	if !ok || len(t.IP) != net.IPv6len {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.conns[binary.BigEndian.Uint64(t.IP[8:])]
}

// limitSendBuffer sets the send buffer of the kernel's connection beneath c.
func limitSendBuffer(c net.Conn) {
	for c != nil {
		if k, ok := c.(syscall.Conn); ok {
			if raw, err := k.SyscallConn(); err == nil {
				setSendBuffer(raw, sendBuffer)
			}
			return
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		c = outer.NetConn()
	}
}
