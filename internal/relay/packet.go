package relay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"
)

// packetConn is a UDP socket for pion. It drops packets that cannot be TURN, and never
// returns a temporary error, which would end the listener.
type packetConn struct {
	*net.UDPConn
	s *Server

	// clients caches addresses for pion, so that a packet does not allocate.
	clients [256]*net.UDPAddr // only used by ReadFrom
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			time.Sleep(5 * time.Millisecond) // not caused by a client; the kernel may be short of memory
			continue
		case !isTURN(b[:n]):
			continue
		}
		return c.s.anyFamily(b, n), c.client(from), nil
	}
}

// client returns a *net.UDPAddr for a, as pion requires.
func (c *packetConn) client(a netip.AddrPort) *net.UDPAddr {
	ip := a.Addr().As16()
	slot := &c.clients[byte(a.Port())^byte(a.Port()>>8)^ip[15]]
	if known := *slot; known != nil && known.Port == int(a.Port()) && netip.AddrFrom16(ip) == netip.AddrFrom16([16]byte(known.IP.To16())) {
		return known
	}
	*slot = net.UDPAddrFromAddrPort(a)
	return *slot
}

// WriteTo sends a response. It limits unauthenticated responses per address, since
// requests with a forged source address would make the server send packets to a victim.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u := to.(*net.UDPAddr) // created by ReadFrom
	if isUnauthenticated(b) {
		ip, _ := netip.AddrFromSlice(u.IP)
		if c.s.replies.Take(c.s.replies.Key(ip.Unmap()), 0, 1) > 0 {
			c.s.Figures.DroppedSource.Add(1)
			return len(b), nil
		}
	}
	return c.UDPConn.WriteTo(b, to)
}

const (
	stunHeader       = 20
	stunCookie       = 0x2112A442
	messageIntegrity = 0x0008
	allocateSuccess  = 0x0103
)

// Begins reports whether a connection that starts with this byte uses TURN. A client
// always starts with a STUN request.
func Begins(first byte) bool { return first == 0 }

// isTURN reports whether b starts like a STUN message or ChannelData.
func isTURN(b []byte) bool {
	switch {
	case len(b) < 4:
		return false
	case b[0]&0xC0 == 0x40:
		return true
	}
	return b[0]&0xC0 == 0 && len(b) >= stunHeader && binary.BigEndian.Uint32(b[4:]) == stunCookie
}

// isUnauthenticated reports whether b is a response without MESSAGE-INTEGRITY.
func isUnauthenticated(b []byte) bool {
	const class, success, failure = 0x0110, 0x0100, 0x0110
	if len(b) < stunHeader || b[0]&0xC0 != 0 {
		return false
	}
	if c := binary.BigEndian.Uint16(b) & class; c != success && c != failure {
		return false
	}
	for b = b[stunHeader:]; len(b) >= 4; {
		if binary.BigEndian.Uint16(b) == messageIntegrity {
			return false
		}
		length := 4 + (int(binary.BigEndian.Uint16(b[2:]))+3)&^3
		b = b[min(length, len(b)):]
	}
	return true
}
