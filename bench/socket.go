package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gobwas/ws"
)

// socket is a WebSocket with little overhead: it parses frames in place and does not
// support fragments, which neither side sends.
type socket struct {
	*conn
	out    []byte
	pinged func() // called for each ping, if not nil
}

// maskKey is constant. Masking protects proxies, of which there are none here, and the
// server's work does not depend on the key.
var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// inboxSocket is the header of a request for one of our sockets.
const inboxSocket = "Sec-WebSocket-Protocol: inbox.v1\r\n"

// upgradeRequest requests a WebSocket, with more headers: complete lines.
func upgradeRequest(target, more string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + more + "\r\n"
}

// openSocket upgrades a connection and opens the peer's inbox, either with an open frame
// as browsers do ("frame") or in the handshake ("basic").
func openSocket(c *conn, p peer, auth string) (*socket, error) {
	header := inboxSocket
	if auth == "basic" {
		header += "Authorization: " + p.auth + "\r\n"
	}
	s, err := upgrade(c, upgradeRequest("/inbox", header))
	if err != nil {
		return nil, err
	}
	if auth != "basic" {
		open := fmt.Appendf(nil, `{"type":"open","id":"%s","password":"%s"}`, p.id, p.password)
		if err := s.send(open); err != nil {
			return nil, err
		}
	}
	opened, err := s.next()
	if err != nil {
		return nil, err
	}
	if string(stringField(opened, "type")) != "opened" {
		return nil, fmt.Errorf("socket: %.200s", opened)
	}
	return s, nil
}

// upgrade performs the WebSocket handshake.
func upgrade(c *conn, request string) (*socket, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return nil, err
	}
	stuck := time.AfterFunc(3*time.Second, func() { c.Close() })
	a, err := c.readHead()
	switch {
	case !stuck.Stop() || err == nil && a.status != 101:
		return nil, errNotServed
	case err != nil:
		return nil, err
	}
	return &socket{conn: c}, nil
}

// send writes a text frame.
func (s *socket) send(payload []byte) error {
	s.out = appendFrame(s.out[:0], ws.OpText, payload)
	_, err := s.Write(s.out)
	return err
}

// appendFrame appends a client's frame, unfragmented and masked.
func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	b = append(b, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(append(b, maskKey[:]...), payload...)
	ws.Cipher(b[len(b)-len(payload):], maskKey, 0)
	return b
}

// next returns the payload of the next text frame, which is valid until the following
// call. It responds to pings.
func (s *socket) next() ([]byte, error) {
	for {
		op, payload, err := s.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case ws.OpText:
			return payload, nil
		case ws.OpPing:
			if s.pinged != nil {
				s.pinged()
			}
			if _, err := s.Write(appendFrame(nil, ws.OpPong, payload)); err != nil {
				return nil, err
			}
		case ws.OpPong:
		case ws.OpClose:
			if len(payload) >= 2 {
				return nil, fmt.Errorf("the socket was closed: %d %s", binary.BigEndian.Uint16(payload), payload[2:])
			}
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("a frame has the opcode %d", op)
		}
	}
}

// frame reads one frame from a server.
func (s *socket) frame() (ws.OpCode, []byte, error) {
	s.begin()
	h, err := s.need(2)
	if err != nil {
		return 0, nil, err
	}
	if h[0]&0xf0 != 0x80 || h[1]&0x80 != 0 {
		return 0, nil, errors.New("a frame is fragmented, compressed or masked")
	}
	op, n, size := ws.OpCode(h[0]&0x0f), int(h[1]), 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if size > 2 {
		if h, err = s.need(size); err != nil {
			return 0, nil, err
		}
		n = 0
		for _, b := range h[2:size] {
			n = n<<8 | int(b)
		}
	}
	if n < 0 || n > maxAnswer {
		return 0, nil, errors.New("a frame is too long")
	}
	all, err := s.need(size + n)
	if err != nil {
		return 0, nil, err
	}
	s.r += size + n
	return op, all[size:], nil
}
