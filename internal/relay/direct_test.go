package relay

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// Packets for a channel of a client over UDP bypass the queue and arrive unchanged.
// Packets without a channel use the queue.
func TestChannelsAreDirect(t *testing.T) {
	s := start(t)
	a, b := s.speak("udp", "alice"), s.speak("udp", "bob")
	ports := [2]int{a.allocate(), b.allocate()}
	for i, p := range []*speaker{a, b} {
		if code, _ := p.ask(stun.MethodChannelBind, peer(virtual.AsSlice(), ports[1-i]), channel(0x4001+uint16(i))); code != 0 {
			t.Fatal(code)
		}
	}
	send := func(p *speaker, number uint16, data string) {
		t.Helper()
		packet := binary.BigEndian.AppendUint16(nil, number)
		packet = binary.BigEndian.AppendUint16(packet, uint16(len(data)))
		if _, err := p.conn.Write(append(packet, data...)); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(p *speaker) (uint16, string) {
		buf := make([]byte, 1600)
		p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := p.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if length := int(binary.BigEndian.Uint16(buf[2:])); n != frameHeader+(length+3)&^3 {
			t.Errorf("%d bytes for a payload of %d", n, length)
		}
		return binary.BigEndian.Uint16(buf), string(buf[frameHeader : frameHeader+int(binary.BigEndian.Uint16(buf[2:]))])
	}
	send(a, 0x4001, "check") // permits the other direction
	b.ask(stun.MethodRefresh)
	a.ask(stun.MethodRefresh) // both responses follow the packet's handling

	w := s.relays.(*Switch)
	queue := w.at(uint16(ports[0]))
	queue.mu.Lock() // blocks the queue
	for _, data := range []string{"a", "four", "seven77", string(make([]byte, 1200))} {
		send(b, 0x4002, data)
		if number, got := receive(a); number != 0x4001 || got != data {
			t.Errorf("channel %x: %q, want %q", number, got, data)
		}
	}
	queue.mu.Unlock()

	s.bind(&net.UDPAddr{IP: virtual.AsSlice(), Port: ports[0]}, &net.UDPAddr{IP: virtual.AsSlice(), Port: ports[1]}, 0)
	if queue.send([]byte("x"), w.at(uint16(ports[1]))) {
		t.Error("a packet without a channel was sent directly")
	}
	queue.end()
	if queue.direct.Load() != nil {
		t.Error("an ended allocation is still reachable")
	}
}

// A closed socket is forgotten.
func TestSocketsAreForgotten(t *testing.T) {
	s := start(t)
	if len(s.sockets) != 1 {
		t.Fatalf("%d sockets", len(s.sockets))
	}
	for local := range s.sockets {
		s.everywhere = local.Port()
	}
	s.follow(nil)
	if len(s.sockets) != 0 {
		t.Errorf("%d sockets are left", len(s.sockets))
	}
}
