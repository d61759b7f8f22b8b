package memstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

// Copies of the unexported types of a snapshot, for tests that forge one.
type (
	header struct {
		Time   time.Time
		Pepper [inbox.PepperSize]byte
	}
	record struct {
		ID       string
		Secret   [sha256.Size]byte
		Life     uint64
		Last     uint64
		TTL      time.Duration
		Messages []message
		Keys     [][16]byte
	}
	message struct {
		From string
		Time time.Time
		Body []byte
	}
)

// forge encodes a snapshot without its checksum.
func forge(t testing.TB, h header, records ...record) []byte {
	t.Helper()
	b := bytes.NewBufferString("inbox snapshot 1\n")
	enc := gob.NewEncoder(b)
	if err := enc.Encode(h); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// loadContent loads a file with the given content and a matching checksum.
func loadContent(t testing.TB, path string, content []byte) (*memstore.Store, error) {
	t.Helper()
	sum := sha256.Sum256(content)
	return loadFile(t, path, append(bytes.Clone(content), sum[:]...))
}

func loadFile(t testing.TB, path string, file []byte) (*memstore.Store, error) {
	t.Helper()
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := memstore.New(inbox.Limits{TTL: time.Hour})
	_, err := s.Load(path)
	return s, err
}

func TestForgedSnapshots(t *testing.T) {
	now := header{Time: time.Now()}
	good := func(change func(*record)) record {
		r := record{ID: "alice", Life: 7, Last: 2, TTL: time.Minute, Messages: []message{{From: "bob", Time: time.Now(), Body: []byte("hello")}}}
		change(&r)
		return r
	}
	same := func(*record) {}
	for name, c := range map[string]struct {
		records []record
		ok      bool
	}{
		"a valid snapshot":              {[]record{good(same)}, true},
		"no inboxes":                    {nil, true},
		"an id of another protocol":     {[]record{good(func(r *record) { r.ID, r.Messages[0].From = "p:k:\x01", "p:k:\xff" })}, true},
		"two inboxes with the same id":  {[]record{good(same), good(same)}, false},
		"no life":                       {[]record{good(func(r *record) { r.Life = 0 })}, false},
		"an empty id":                   {[]record{good(func(r *record) { r.ID = "" })}, false},
		"an empty sender":               {[]record{good(func(r *record) { r.Messages[0].From = "" })}, false},
		"more messages than numbers":    {[]record{good(func(r *record) { r.Last = 0 })}, false},
		"more keys than are remembered": {[]record{good(func(r *record) { r.Keys = make([][16]byte, inbox.KeysRemembered+1) })}, false},
		"a repeated key":                {[]record{good(func(r *record) { r.Keys = make([][16]byte, 9) })}, true},
		"an expired inbox":              {[]record{good(func(r *record) { r.TTL = -1 << 63 })}, true},
		"a life longer than the TTL":    {[]record{good(func(r *record) { r.TTL = 1<<63 - 1 })}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := loadContent(t, filepath.Join(t.TempDir(), "snapshot"), forge(t, now, c.records...))
			if c.ok != (err == nil) || err != nil && !errors.Is(err, memstore.ErrDamaged) {
				t.Errorf("got the error %v", err)
			}
			if err == nil {
				reload(t, s)
			}
		})
	}
	if _, err := loadContent(t, filepath.Join(t.TempDir(), "snapshot"), []byte("inbox snapshot 2\n")); !errors.Is(err, memstore.ErrDamaged) {
		t.Errorf("another version: %v", err)
	}
}

// reload saves a loaded store and loads the result.
func reload(t *testing.T, s *memstore.Store) {
	t.Helper()
	path := save(t, s)
	again := memstore.New(inbox.Limits{TTL: time.Hour})
	if _, err := again.Load(path); err != nil {
		t.Fatalf("cannot load what was loaded and saved: %v", err)
	}
	inboxes, memory := s.Usage()
	if i, m := again.Usage(); i > inboxes || m > memory { // fewer if some expired meanwhile
		t.Fatalf("%d inboxes of %d bytes became %d of %d bytes", inboxes, memory, i, m)
	}
}

func FuzzSnapshot(f *testing.F) {
	s := memstore.New(inbox.Limits{TTL: time.Hour})
	add := func() {
		file, err := os.ReadFile(save(f, s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)                               // for loadFile
		f.Add(file[:len(file)-sha256.Size])       // for loadContent
		f.Add(file[:(len(file)-sha256.Size)*2/3]) // truncated
	}
	add()
	for i := range 3 {
		id := fmt.Sprint("peer ", i)
		for n := range i {
			send(f, s, id, id, fmt.Sprint("key ", n), "hello")
		}
		add()
	}
	f.Add([]byte("inbox snapshot 1\n"))
	f.Add(forge(f, header{}, record{ID: "a", Life: 1, TTL: 1 << 62}, record{ID: "a", Life: 2}))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "snapshot")
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, load := range []func(testing.TB, string, []byte) (*memstore.Store, error){loadFile, loadContent} {
			s, err := load(t, path, content)
			if err != nil {
				continue
			}
			if inboxes, memory := s.Usage(); inboxes < 0 || memory < 0 {
				t.Errorf("the usage is %d inboxes and %d bytes", inboxes, memory)
			}
			for i := range 3 {
				id := fmt.Sprint("peer ", i)
				_ = trySend(t, s, id, id, "key 0", "hello")
				if b, err := s.Look(t.Context(), peer(id), start, 2, nil); err == nil {
					look(t, s, id, b.Cursor, 100)
					closeInbox(t, s, id)
				}
			}
		}
	})
}
