package inboxtest

import (
	"errors"
	"io"

	"github.com/gobwas/ws"
)

// ReadFrame reads an unfragmented WebSocket frame from a server, of at most 16 MiB.
func ReadFrame(r io.Reader) (ws.OpCode, []byte, error) {
	header, err := ws.ReadHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if header.Length > 16<<20 || header.Masked || !header.Fin {
		return 0, nil, errors.New("the frame is too long, masked or fragmented")
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(r, payload)
	return header.OpCode, payload, err
}

// CloseCodes lists codes for close frames, at both ends of each valid and invalid range,
// and the codes that the server answers with.
var CloseCodes = closeCodes()

type closeCode struct {
	Said  uint16
	Heard int
}

func closeCodes() (codes []closeCode) {
	for _, r := range []struct {
		first, last uint16
		valid       bool
	}{
		{0, 999, false}, {1000, 1003, true}, {1004, 1006, false}, {1007, 1014, true}, {1015, 2999, false},
		{3000, 3999, true}, {4000, 4999, true}, {5000, 65535, false},
	} {
		add := func(code uint16) {
			heard := int(ws.StatusProtocolError)
			if r.valid {
				heard = int(code)
			}
			codes = append(codes, closeCode{code, heard})
		}
		add(r.first)
		if r.last-r.first < 10 {
			for code := r.first + 1; code < r.last; code++ {
				add(code)
			}
		}
		add(r.last)
	}
	return codes
}
