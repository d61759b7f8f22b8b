package peerjs

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A held message counts for at least the memory that it takes.
func TestHeldMessagesCountTheirMemory(t *testing.T) {
	const senders = 40
	for name, frame := range map[string]func(i int) (id, payload string){
		"smallest, to one peer":    func(i int) (string, string) { return "x", "" },
		"smallest, to many peers":  func(i int) (string, string) { return fmt.Sprint(i % maxRecipients), "" },
		"one per peer":             func(i int) (string, string) { return fmt.Sprint(i), "" },
		"to long ids":              func(i int) (string, string) { return fmt.Sprint(i, strings.Repeat("x", 500)), "" },
		"to ids as long as frames": func(i int) (string, string) { return fmt.Sprint(i, strings.Repeat("x", 100_000)), "" },
		"just above a page":        func(i int) (string, string) { return "x", strings.Repeat("1", 32<<10) },
		"just above a size":        func(i int) (string, string) { return "x", strings.Repeat("1", 1153) },
	} {
		t.Run(name, func(t *testing.T) {
			h := &Handler{Config: Config{MaxHeld: 1 << 40}}
			before := heap()
			holds := make([]*hold, senders)
			for n := range holds {
				holds[n] = new(hold)
				for i := range 2 * maxHeld {
					id, payload := frame(i)
					f := clientFrame{kind: offer}
					if payload != "" {
						f.payload = []byte(payload)
					}
					if _, ok := h.add(holds[n], address{text: id}, f.body(), time.Now()); !ok {
						break
					}
				}
			}
			took, counted := heap()-before, h.held.Load()
			if took > counted {
				t.Errorf("they take %d bytes but count for %d", took, counted)
			}
			if took < counted/8 {
				t.Errorf("they count for %d bytes but take only %d", counted, took)
			}
			for _, o := range holds {
				h.release(o)
			}
			if n := h.held.Load(); n != 0 {
				t.Errorf("%d bytes are counted although nothing is held", n)
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
