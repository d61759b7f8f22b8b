package relay

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"sync"
)

// direct is how to reach a client over UDP. The goroutine that reads a packet for one of
// the client's channels also writes it to the client, since waking another goroutine per
// packet would cost more than everything else. Clients over TCP and TLS use a queue
// instead, because writing to them may block.
type direct struct {
	conn   *packetConn
	client netip.AddrPort
}

// reach records how to reach the client of an allocation.
func (s *Server) reach(src, dst, relay net.Addr) {
	w, ok := s.relays.(*Switch)
	client, ok2 := src.(*net.UDPAddr)
	local, ok3 := dst.(*net.UDPAddr)
	relayed, ok4 := relay.(*net.UDPAddr)
	if !ok || !ok2 || !ok3 || !ok4 {
		return
	}
	s.mu.Lock()
	conn := s.sockets[addrPort(local)]
	s.mu.Unlock()
	if p := w.at(uint16(relayed.Port)); p != nil && conn != nil {
		p.direct.Store(&direct{conn, addrPort(client)})
	}
}

// forget removes a closed socket.
func (s *Server) forget(local netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, local)
}

// bind records the channel number of a peer, or 0 for none. pion holds locks meanwhile.
func (s *Server) bind(relay, peer net.Addr, number uint16) {
	w, ok := s.relays.(*Switch)
	relayed, ok2 := relay.(*net.UDPAddr)
	other, ok3 := peer.(*net.UDPAddr)
	if !ok || !ok2 || !ok3 {
		return
	}
	p := w.at(uint16(relayed.Port))
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	channels := make(map[int]uint16)
	if old := p.bound.Load(); old != nil {
		maps.Copy(channels, *old)
	}
	if number == 0 {
		delete(channels, other.Port)
	} else {
		channels[other.Port] = number
	}
	p.bound.Store(&channels)
}

var channelData = sync.Pool{New: func() any { return new([frameHeader + maxPacket + 3]byte) }}

// send writes a packet from another port directly to the client. It returns false if the
// client must be reached through the queue.
func (p *port) send(b []byte, from *port) bool {
	d, channels := p.direct.Load(), p.bound.Load()
	if d == nil || channels == nil {
		return false
	}
	number, ok := (*channels)[from.addr.Port]
	if !ok {
		return false
	}
	buf := channelData.Get().(*[frameHeader + maxPacket + 3]byte)
	defer channelData.Put(buf)
	binary.BigEndian.PutUint16(buf[:], number)
	binary.BigEndian.PutUint16(buf[2:], uint16(len(b)))
	n := frameHeader + copy(buf[frameHeader:], b)
	for ; n%4 != 0; n++ {
		buf[n] = 0
	}
	_, err := d.conn.WriteToUDPAddrPort(buf[:n], d.client)
	return err == nil
}
