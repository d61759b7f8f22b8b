package park

import (
	"encoding/binary"
	"io"
	"net"
)

// hello splits the client's first record in two, as a client itself may (RFC 8446, 5.1).
// The content is unchanged, and a record of a ClientHello is neither encrypted nor
// authenticated.
//
// This saves memory. crypto/tls permanently keeps two buffers: one for the longest record
// plus half a KiB, and one for the ClientHello, which now has 1.5 to 2 KiB. With more
// than two parts, the second buffer would double once more.
type hello struct {
	header [recordHeader]byte
	out    int  // bytes of header still to return
	piece  int  // bytes left of the current part
	rest   int  // bytes left of the record after that
	begun  bool // the header was read
}

const (
	recordHeader    = 5
	recordHandshake = 22
)

// read reads from c and reports whether the record is complete.
func (h *hello) read(c net.Conn, p []byte) (n int, over bool, err error) {
	if len(p) < recordHeader { // crypto/tls always passes more
		return 0, false, io.ErrShortBuffer
	}
	if !h.begun {
		// A shorter input is not TLS.
		if h.out, err = io.ReadAtLeast(c, h.header[:], 1); err != nil {
			return 0, false, err
		}
		if h.header[0] == recordHandshake && h.out < recordHeader {
			var m int
			m, err = io.ReadFull(c, h.header[h.out:])
			h.out += m
		}
		h.begun = true
		if h.header[0] != recordHandshake || err != nil {
			n = copy(p, h.header[:h.out])
			return n, true, err
		}
		length := int(binary.BigEndian.Uint16(h.header[3:]))
		h.next((length + 1) / 2)
		h.rest = length - h.piece
	}
	if h.out > 0 {
		n = copy(p, h.header[recordHeader-h.out:])
		h.out -= n
		return n, h.out+h.piece+h.rest == 0, nil
	}
	n, err = c.Read(p[:min(len(p), h.piece)])
	if h.piece -= n; h.piece == 0 && h.rest > 0 {
		h.next(h.rest)
		h.rest = 0
	}
	return n, h.piece+h.rest == 0, err
}

// next prepares the header of the next part.
func (h *hello) next(length int) {
	h.piece, h.out = length, recordHeader
	binary.BigEndian.PutUint16(h.header[3:], uint16(length))
}
