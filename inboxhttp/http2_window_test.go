package inboxhttp_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A client may send its first body before it knows the server's settings. Until then it
// assumes the default window of 64 KiB less one byte (RFC 9113, 6.9.2).
func TestBodyBeforeTheSettingsOfHTTP2(t *testing.T) {
	t.Parallel()
	s := start(t, config{sockets: true})
	s.open("alice")
	body := strings.Repeat("x", 60<<10)
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	framer, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", http.MethodPost}, {":scheme", "http"}, {":path", "/inbox?to=alice"}, {":authority", "x"},
		{"authorization", basic("bob:" + passwordOf("bob"))},
	} {
		encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 16<<10)
		framer.WriteData(1, n == len(rest), []byte(rest[:n]))
		rest = rest[n:]
	}
	c := s.rawClient()
	c.write(out.String())
	answers := http2.NewFramer(nil, c.r)
	answers.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	for {
		f, err := answers.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			t.Fatalf("the stream was reset: %v", f.ErrCode)
		case *http2.GoAwayFrame:
			t.Fatalf("the connection was ended: %v", f.ErrCode)
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status != "200" {
				t.Fatalf("got %s", status)
			}
			s.poll("alice").wantMessage("bob", body)
			return
		}
	}
}
