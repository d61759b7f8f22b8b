package socket

import (
	"testing"

	"github.com/gobwas/ws"
)

// A close frame may carry the codes that RFC 6455 and IANA's registry define for frames,
// and those of libraries and applications.
func TestMayClose(t *testing.T) {
	defined := map[int]bool{
		1000: true, 1001: true, 1002: true, 1003: true, // RFC 6455
		1007: true, 1008: true, 1009: true, 1010: true, 1011: true,
		1012: true, 1013: true, 1014: true, // IANA: service restart, try again later, bad gateway
	}
	for code := range 1 << 16 {
		want := defined[code] || 3000 <= code && code < 5000
		if got := mayClose(ws.StatusCode(code)); got != want {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
}
