package peerjs

import (
	"bytes"
	"strings"
	"testing"
)

// hostile has frames of maximum length that try to cost more than their bytes.
var hostile = map[string][]byte{
	"escaped names":      fill(`"\u0061":0,`),
	"almost known names": fill(`"\u0074\u0079\u0070\u0065x":0,`),
	"one name repeated":  fill(`"\u0064st":"x",`),
	"an escaped dst":     fill(`"dst":"` + strings.Repeat(`\u0061`, 1000) + `",`),
	"spaces":             fill(`"a" : [ [ 0 ]         ] ,        `),
	"brackets":           fill(`"a":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + ","),
	"halves of pairs":    fill(`"dst":"` + strings.Repeat(`\ud800`, 1000) + `",`),
	"a long number":      fill(`"dst":` + strings.Repeat("9", 5000) + ","),
	"a number as an id":  append(append([]byte(`{"type":"OFFER","dst":`), bytes.Repeat([]byte("7"), 256<<10-30)...), '}'),
	"an object as an id": append(append([]byte(`{"type":"OFFER","dst":{"a":"`), bytes.Repeat([]byte("7"), 256<<10-40)...), `"}}`...),
}

// fill repeats members until the frame has 256 KiB, the maximum.
func fill(members string) []byte {
	const most = 256 << 10
	frame := []byte("{")
	for len(frame)+len(members) < most-20 {
		frame = append(frame, members...)
	}
	return append(frame, `"type":"OFFER"}`...)
}

// The cost of parsing a frame is proportional to its length, whatever its names and
// values: it allocates only the few strings that count.
func TestParsingAllocatesLittle(t *testing.T) {
	for name, frame := range hostile {
		t.Run(name, func(t *testing.T) {
			var f clientFrame
			n := testing.AllocsPerRun(5, func() {
				if f = (clientFrame{}); !f.parse(frame) {
					t.Fatal("not parsed")
				}
			})
			if n > 10 {
				t.Errorf("%v allocations, want at most 10", n)
			}
		})
	}
}

// BenchmarkHostileFrames measures the cost per KiB of a hostile frame.
func BenchmarkHostileFrames(b *testing.B) {
	for name, frame := range hostile {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var f clientFrame
				f.parse(frame)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(frame))*1024, "ns/KiB")
		})
	}
}

// BenchmarkParse measures this package's share of the cost of a message.
func BenchmarkParse(b *testing.B) {
	frame := []byte(`{"type":"CANDIDATE","payload":{"candidate":{"candidate":"candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag ` + strings.Repeat("x", 200) + ` network-cost 999","sdpMid":"0","sdpMLineIndex":0},"type":"data","connectionId":"dc_abcdefgh"},"dst":"bob"}`)
	for b.Loop() {
		var f clientFrame
		if !f.parse(frame) {
			b.Fatal("not parsed")
		}
		appendFrame(make([]byte, 0, 1024), f.body(), address{text: "alice"}, "bob")
	}
}
