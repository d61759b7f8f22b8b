package park

import (
	"encoding/binary"
	"io"
	"net"
)

// hello hands the client's first record to crypto/tls in two halves, as if the client had
// sent them as records of their own, which a client may (RFC 8446, 5.1). A hello has 1.5
// to 2 KiB by now, and crypto/tls keeps two buffers for good: one has room for the longest
// record and half a KiB more, the other for the hello. More pieces would make the other
// twice as large, because it doubles when it grows for the second time. The hello is
// neither encrypted nor authenticated as a record; what is in it is left as it is.
type hello struct {
	header [recordHeader]byte
	out    int  // of header, to be handed out
	piece  int  // left of this piece
	rest   int  // left of the record after it
	begun  bool // the header was read
}

const (
	recordHeader    = 5
	recordHandshake = 22
)

// read reads from c and reports whether the record is over.
func (h *hello) read(c net.Conn, p []byte) (n int, over bool, err error) {
	if len(p) < recordHeader { // crypto/tls has room for more
		return 0, false, io.ErrShortBuffer
	}
	if !h.begun {
		// Whatever this is, it is at least as long, or no TLS.
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

// next makes the header of a piece.
func (h *hello) next(length int) {
	h.piece, h.out = length, recordHeader
	binary.BigEndian.PutUint16(h.header[3:], uint16(length))
}
