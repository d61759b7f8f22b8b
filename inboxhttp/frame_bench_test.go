package inboxhttp

import (
	"encoding/json"
	"strings"
	"testing"
)

// BenchmarkRequest parses a frame with an offer of 2 KiB.
func BenchmarkRequest(b *testing.B) {
	body, err := json.Marshal(map[string]string{"type": "offer", "sdp": strings.Repeat("a=candidate:1 1 udp 2130706431\r\n", 64)})
	if err != nil {
		b.Fatal(err)
	}
	frame, err := json.Marshal(map[string]string{"type": "send", "to": "bob", "key": "0123456789abcdef", "body": string(body)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		var q request
		if err := q.parse(frame); err != nil {
			b.Fatal(err)
		}
	}
}
