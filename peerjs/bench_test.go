package peerjs

import (
	"strings"
	"testing"
)

// BenchmarkParse is the part of a message's cost that is this package's own.
func BenchmarkParse(b *testing.B) {
	frame := []byte(`{"type":"CANDIDATE","payload":{"candidate":{"candidate":"candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag ` + strings.Repeat("x", 200) + ` network-cost 999","sdpMid":"0","sdpMLineIndex":0},"type":"data","connectionId":"dc_abcdefgh"},"dst":"bob"}`)
	for b.Loop() {
		var f said
		if !f.parse(frame) {
			b.Fatal("not parsed")
		}
		appendFrame(make([]byte, 0, 1024), f.body(), "alice", "bob")
	}
}
