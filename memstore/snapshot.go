package memstore

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"inbox"
)

// A snapshot file consists of magic, a gob stream (a header, then the inboxes) and the
// SHA-256 of both. Load verifies the sum before it decodes anything.
const magic = "inbox snapshot 1\n"

type snapshotHeader struct {
	Time   time.Time
	Pepper [inbox.PepperSize]byte // the secrets are useless without it
	Codes  []snapshotCode         // since version 0.4
}

type snapshotInbox struct {
	ID       string
	Secret   [sha256.Size]byte
	Life     uint64
	Last     uint64
	TTL      time.Duration // time left to live
	Messages []snapshotMessage
	Keys     []digest
	Rooms    []snapshotRoom // since version 0.4
}

// snapshotRoom is a membership. Joined orders the members of a room. Behind means that the
// inbox has missed an event of the room.
type snapshotRoom struct {
	Name   string
	Joined uint64
	Behind bool
}

type snapshotMessage struct {
	From string
	Time time.Time
	Body []byte
}

// Save writes all inboxes and codes to path, readable by its owner only. It writes a temporary file
// and renames it, so path always contains either the complete snapshot or what it
// contained before. Stop senders and receivers first: changes during Save may or may not
// be included.
func (s *Store) Save(path string, pepper *inbox.Pepper) (err error) {
	if err := removeUnfinished(path); err != nil {
		return err
	}
	f, err := os.OpenFile(unfinished(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := s.write(f, pepper); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// unfinished returns the name of the temporary file. It is always the same, so that the
// next Save or Load removes what a crash left behind, which contains messages.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".unfinished")
}

// CheckSave tests whether Save could write a snapshot to path, as far as that is known in
// advance. It writes and removes the temporary file that Save uses.
func CheckSave(path string) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if err := removeUnfinished(path); err != nil {
		return err
	}
	f, err := os.OpenFile(unfinished(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20)) // a full file system may still be able to create a file
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func removeUnfinished(path string) error {
	if err := os.Remove(unfinished(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) write(w io.Writer, pepper *inbox.Pepper) error {
	sum := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<20)
	if _, err := buf.WriteString(magic); err != nil {
		return err
	}
	enc := gob.NewEncoder(buf)
	s.settle()
	h := snapshotHeader{Time: time.Now(), Pepper: pepper.Key(), Codes: s.codes.snapshot(s.now())}
	if err := enc.Encode(h); err != nil {
		return err
	}
	for i := range s.shards {
		for _, in := range s.shards[i].snapshot(s.now()) {
			if err := enc.Encode(in); err != nil {
				return err
			}
		}
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// snapshot copies the inboxes of a shard that have not expired, in the order of expiry. Of an
// expired inbox it copies only the memberships: its rooms have not recorded the expiry yet.
func (sh *shard) snapshot(now time.Duration) []snapshotInbox {
	sh.Lock()
	defer sh.Unlock()
	all := make([]snapshotInbox, 0, sh.inboxes.Len())
	for in := sh.head; in != nil; in = in.next {
		expired := in.expires <= now
		if expired && in.rooms == nil {
			continue
		}
		saved := snapshotInbox{
			ID: in.id, Secret: in.secret, Life: in.life, Last: in.last,
			TTL: in.expires - now, Keys: in.keys.inOrder(),
		}
		if in.rooms != nil {
			for _, m := range in.rooms.all {
				saved.Rooms = append(saved.Rooms, snapshotRoom{m.room.name, m.joined, m.behind})
			}
		}
		if expired {
			saved.TTL, saved.Keys = 0, nil
			all = append(all, saved)
			continue
		}
		for _, m := range in.messages {
			saved.Messages = append(saved.Messages, snapshotMessage{m.From, m.Time, m.Body})
		}
		all = append(all, saved)
	}
	return all
}

// ErrDamaged means that a file is not an intact snapshot.
var ErrDamaged = errors.New("damaged snapshot")

// Load reads a snapshot into an empty store and returns the key of the pepper that its
// secrets depend on. Inboxes keep their cursors and the remainder of their lives, minus
// the time since the snapshot was saved. So do codes. No inbox is left of a snapshot older
// than the TTL, and no code of one older than [inbox.CodeTTL].
//
// The caller MUST remove the file before it serves requests: loading it a second time
// would issue sequence numbers twice. Load also removes the temporary file of an
// interrupted Save.
//
// Errors: fs.ErrNotExist, ErrDamaged, or an error that says which limit the snapshot
// exceeds. The store must not be used after an error.
func (s *Store) Load(path string) (pepper [inbox.PepperSize]byte, err error) {
	if err := removeUnfinished(path); err != nil {
		return pepper, err
	}
	f, err := os.Open(path)
	if err != nil {
		return pepper, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return pepper, err
	}
	return s.read(f, info.Size())
}

func (s *Store) read(r io.ReaderAt, size int64) (pepper [inbox.PepperSize]byte, err error) {
	damaged := func(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }
	content := size - sha256.Size
	if content < int64(len(magic)) {
		return pepper, damaged("the file is too short")
	}
	sum, want := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, content)); err != nil {
		return pepper, err
	}
	if _, err := r.ReadAt(want, content); err != nil && err != io.EOF {
		return pepper, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return pepper, damaged("the checksum does not match")
	}
	body := bufio.NewReaderSize(io.NewSectionReader(r, 0, content), int(min(content, 1<<20)))
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(body, start); err != nil || string(start) != magic {
		return pepper, damaged("not a snapshot, or of another version")
	}
	dec := gob.NewDecoder(body)
	var h snapshotHeader
	if err := dec.Decode(&h); err != nil {
		return pepper, damaged(err.Error())
	}
	away := max(0, time.Since(h.Time)) // a clock that was set back must not add lifetime
	now := s.now()
	var all []*entry
	var gone []snapshotInbox // expired since
	for {
		var saved snapshotInbox
		err := dec.Decode(&saved)
		if err == io.EOF {
			break
		}
		if err != nil {
			return pepper, damaged(err.Error())
		}
		if err := saved.check(); err != nil {
			return pepper, damaged(err.Error())
		}
		if left := min(saved.TTL, s.limits.TTL) - away; left > 0 {
			in := saved.entry(now + left)
			s.rejoin(in, saved.Rooms)
			all = append(all, in)
		} else {
			gone = append(gone, saved)
		}
	}
	// The snapshot is ordered by the shards of the process that saved it.
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.expires, b.expires) })
	for _, in := range all {
		if err := s.restore(in); err != nil {
			return pepper, err
		}
	}
	if err := s.restoreCodes(h.Codes, away); err != nil {
		return pepper, err
	}
	s.orderRooms()
	for _, in := range gone {
		s.expiredBefore(in.ID, in.Rooms)
	}
	return h.Pepper, nil
}

func (saved *snapshotInbox) check() error {
	// Do not validate ids further: each protocol has its own rules.
	switch {
	case saved.ID == "":
		return errors.New("an inbox without an id")
	case saved.Life == 0:
		return errors.New("an inbox without a life")
	case uint64(len(saved.Messages)) > saved.Last:
		return errors.New("an inbox with more messages than sequence numbers")
	case len(saved.Keys) > inbox.KeysRemembered:
		return errors.New("an inbox with too many keys")
	}
	for i := range saved.Messages {
		m := inbox.Message{From: saved.Messages[i].From, Body: saved.Messages[i].Body}
		if _, event := m.Event(); m.FromServer() && !event {
			return errors.New("a message without a sender")
		}
	}
	return nil
}

func (saved *snapshotInbox) entry(expires time.Duration) *entry {
	in := &entry{id: saved.ID, secret: saved.Secret, life: saved.Life, last: saved.Last, expires: expires}
	for _, d := range saved.Keys {
		if !in.keys.has(d) {
			in.keys = in.keys.remember(d)
		}
	}
	first := saved.Last - uint64(len(saved.Messages)) + 1
	for i, m := range saved.Messages {
		message := inbox.Message{
			Cursor: inbox.Cursor{Life: in.life, Seq: first + uint64(i)},
			From:   m.From, Time: m.Time.UTC(), Body: trimmed(m.Body),
		}
		if message.FromServer() {
			in.inRooms().events++
			in.rooms.bytes += len(m.Body)
		} else {
			in.count(m.From)
		}
		in.bytes += len(m.Body)
		in.live += costOf(&message)
		in.messages = append(in.messages, message)
	}
	return in
}

func (s *Store) restore(in *entry) error {
	sh := s.shard(in.id)
	sh.Lock()
	defer sh.Unlock()
	if sh.inboxes.Get(in.id) != nil {
		return fmt.Errorf("%w: two inboxes with the same id", ErrDamaged)
	}
	if !s.reserveInbox() {
		return fmt.Errorf("the snapshot contains more inboxes than the limit of %d", s.limits.Inboxes)
	}
	if !sh.insertLocked(in) {
		return fmt.Errorf("the inboxes in the snapshot take more memory than the limit of %d bytes", s.limits.Memory)
	}
	return nil
}

// syncDir makes a rename in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
