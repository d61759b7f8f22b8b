package memstore_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

// keptLimit is large enough that the runtime's own memory does not matter.
const keptLimit = 64 << 20

// A filler fills a store with one kind of content. Its methods panic with full when the
// store is full.
type filler struct {
	*memstore.Store
	n int // number of names generated
}

var x = []byte("x")

// full is the panic value that ends a round.
type full struct{}

func (f *filler) name(length int) string {
	f.n++
	name := fmt.Sprint(f.n)
	return name + strings.Repeat("-", max(0, length-len(name)))
}

func (f *filler) check(err error) {
	switch {
	case errors.Is(err, inbox.ErrServerFull):
		panic(full{})
	case err != nil:
		panic(err)
	}
}

func (f *filler) open(id string) {
	_, err := f.Look(context.Background(), inbox.Peer{ID: id}, start, 0, nil)
	f.check(err)
}

func (f *filler) send(from, to, key string, body []byte) {
	_, err := f.Send(context.Background(), inbox.Peer{ID: from}, to, inbox.Draft{Key: key, Body: body})
	f.check(err)
}

func (f *filler) join(id, room string) {
	_, err := f.Join(context.Background(), inbox.Peer{ID: id}, room)
	f.check(err)
}

func (f *filler) close(id string) {
	_, err := f.Close(context.Background(), inbox.Peer{ID: id}, 0)
	f.check(err)
}

// acknowledge removes the n oldest messages.
func (f *filler) acknowledge(id string, n int) {
	b, err := f.Look(context.Background(), inbox.Peer{ID: id}, start, n, nil)
	f.check(err)
	_, err = f.Look(context.Background(), inbox.Peer{ID: id}, b.Cursor, 0, nil)
	f.check(err)
}

// kept contains the worst case for each kind of content that a store keeps.
var kept = map[string]func(f *filler){
	"ids of senders that have closed": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 100 {
			from := f.name(inbox.MaxID)
			f.send(from, to, "", nil)
			f.close(from)
		}
	},
	"rooms of one member": func(f *filler) {
		id := f.name(1)
		for range 16 {
			f.join(id, f.name(inbox.MaxID))
		}
	},
	"a room with all its members": func(f *filler) {
		room := f.name(1)
		for range 64 {
			f.join(f.name(1), room)
		}
	},
	"unread events": func(f *filler) {
		room := f.name(inbox.MaxID)
		f.join(f.name(1), room)
		for range inbox.MaxEvents {
			id := f.name(inbox.MaxID)
			f.join(id, room)
			f.close(id)
		}
	},
	"empty messages": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 100 {
			f.send(to, to, "", nil)
		}
	},
	"one message more than a power of two": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 65 {
			f.send(to, to, "", []byte("x"))
		}
	},
	"bodies just above a size class": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 25 {
			f.send(to, to, "", bytes.Repeat(x, 1153))
		}
	},
	"bodies just above a page": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 20 {
			f.send(to, to, "", bytes.Repeat(x, 32<<10+1))
		}
	},
	"bodies with spare capacity": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 20 {
			f.send(to, to, "", bytes.Repeat(x, 4000)[:1000])
		}
	},
	"bodies decoded from base64": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 10 {
			text := bytes.Clone([]byte(base64.StdEncoding.EncodeToString(make([]byte, 40_000))))
			n, _ := base64.StdEncoding.Decode(text, text)
			f.send(to, to, "", text[:n])
		}
	},
	"acknowledged messages before others": func(f *filler) {
		to := f.name(1)
		f.open(to)
		for range 15 {
			f.send(to, to, "", bytes.Repeat(x, 4<<10))
		}
		for range 16 {
			f.send(to, to, "", nil)
		}
		f.acknowledge(to, 15)
	},
	"inboxes with short ids": func(f *filler) { f.open(f.name(1)) },
	"inboxes with long ids":  func(f *filler) { f.open(f.name(inbox.MaxID)) },
	"inboxes whose receiver has left": func(f *filler) {
		id, state := f.name(1), new([256]byte) // about what a connection leaves behind
		w := inbox.NewWaker(func() { state[0]++ })
		_, err := f.Look(context.Background(), inbox.Peer{ID: id}, start, 1, w)
		f.check(err)
	},
	"an idempotency key in each inbox":     keysIn(1),
	"nine idempotency keys in each inbox":  keysIn(9),
	"900 idempotency keys in each inbox":   keysIn(900),
	"3,000 idempotency keys in each inbox": keysIn(3000),
	"maps with free room": func(f *filler) {
		if f.n == 0 {
			var ids []string
			for range 60_000 {
				ids = append(ids, f.name(1))
				f.open(ids[len(ids)-1])
			}
			for i, id := range ids { // a map is rebuilt when a quarter is left
				if i%10 < 7 {
					f.close(id)
				}
			}
		}
		to := f.name(1)
		f.open(to)
		for range 50 {
			f.send(to, to, "", bytes.Repeat(x, 1000))
		}
	},
	"churn of everything": func(f *filler) {
		to := f.name(inbox.MaxID)
		f.open(to)
		for i := range 20 {
			from := f.name(inbox.MaxID)
			f.send(from, to, from[:inbox.MaxKey], bytes.Repeat(x, i*i*i))
			f.close(from)
			if i%3 == 0 {
				f.acknowledge(to, 2)
			}
		}
		if f.n%2 == 0 {
			f.close(to)
		}
	},
}

func keysIn(n int) func(f *filler) {
	return func(f *filler) {
		to := f.name(1)
		f.open(to)
		for i := range n {
			f.send(to, to, fmt.Sprint(i), nil)
			f.acknowledge(to, 1)
		}
	}
}

// The resident memory of a process stays within the limit, whatever the store keeps.
func TestResidentMemoryIsWithinTheLimit(t *testing.T) {
	if kind := os.Getenv("KEPT"); kind != "" {
		fill(kind)
		return
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("resident memory cannot be read here")
	}
	// Build without the race detector, which needs additional memory.
	binary := filepath.Join(t.TempDir(), "kept.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kind := range slices.Sorted(maps.Keys(kept)) {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command(binary, "-test.run=^TestResidentMemoryIsWithinTheLimit$")
			cmd.Env = append(os.Environ(), "KEPT="+kind, "GOGC=50")
			out, err := cmd.Output()
			var resident, counted int64
			if _, scan := fmt.Sscanf(string(out), "resident %d counted %d", &resident, &counted); err != nil || scan != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%.1f MiB resident, %.1f counted", float64(resident)/(1<<20), float64(counted)/(1<<20))
			if counted > keptLimit {
				t.Errorf("%d bytes are counted, want at most %d", counted, keptLimit)
			}
			if resident < keptLimit/4 {
				t.Errorf("only %d bytes are resident: the store did not keep everything, or it counts far too much", resident)
			}
			// Garbage leaves gaps, which are reused sooner or later.
			if resident > keptLimit*115/100 {
				t.Errorf("%d bytes are resident, want at most about %d", resident, keptLimit)
			}
		})
	}
}

// fill fills a store until it has refused 20 times, and prints the resident and the
// counted memory.
func fill(kind string) {
	s := memstore.New(inbox.Limits{TTL: 24 * time.Hour, Memory: keptLimit, Inboxes: 1 << 30})
	f := &filler{Store: s}
	before := residentMemory()
	for refused := 0; refused < 20; {
		func() {
			defer func() {
				switch v := recover(); v.(type) {
				case nil:
				case full:
					refused++
				default:
					panic(v)
				}
			}()
			kept[kind](f)
		}()
	}
	_, counted := s.Usage()
	fmt.Println("resident", residentMemory()-before, "counted", counted)
	runtime.KeepAlive(s)
}

func residentMemory() (bytes int64) {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscanf(rest, "%d kB", &bytes); err != nil {
		panic(err)
	}
	return bytes << 10
}
