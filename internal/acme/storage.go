package acme

import (
	"context"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// Storage keeps certificates and their keys, and locks what one server does at a time.
type Storage interface {
	certmagic.Storage
	certmagic.TryLocker
}

// NewDirectory returns a Storage in a directory, which it makes. The files in it can be
// read by their owner only.
func NewDirectory(dir string) (Storage, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, ".inbox-*")
	if err != nil {
		return nil, err
	}
	probe.Close()
	return &certmagic.FileStorage{Path: dir}, os.Remove(probe.Name())
}

// Files are what several servers share. Load returns fs.ErrNotExist for a file that is not
// there. TryLock takes a lock, which ends with the server that has it.
type Files interface {
	Load(ctx context.Context, name string) ([]byte, error)
	Store(ctx context.Context, name string, content []byte) error
	Delete(ctx context.Context, names ...string) error
	Names(ctx context.Context) ([]string, error)
	TryLock(ctx context.Context, name string) (bool, error)
	Unlock(ctx context.Context, name string) error
}

// NewShared returns a Storage for all servers that have these files.
func NewShared(f Files) Storage { return shared{f} }

// shared makes directories of names with slashes.
type shared struct{ Files }

// lockEach is how often a lock is asked for that another server has.
const lockEach = time.Second

// Lock implements certmagic.Locker.
func (s shared) Lock(ctx context.Context, name string) error {
	for {
		if ok, err := s.TryLock(ctx, name); ok || err != nil {
			return err
		}
		select {
		case <-time.After(lockEach):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Delete implements certmagic.Storage: it removes directories whole.
func (s shared) Delete(ctx context.Context, key string) error {
	names, err := s.under(ctx, key)
	if err != nil || len(names) == 0 {
		return err
	}
	return s.Files.Delete(ctx, names...)
}

// under returns the names of key itself and of all in its directory.
func (s shared) under(ctx context.Context, key string) (under []string, err error) {
	names, err := s.Names(ctx)
	for _, name := range names {
		if name == key || key == "" || strings.HasPrefix(name, key+"/") {
			under = append(under, name)
		}
	}
	return under, err
}

// Exists implements certmagic.Storage. A file that cannot be opened is not there.
func (s shared) Exists(ctx context.Context, key string) bool {
	if _, err := s.Load(ctx, key); err == nil {
		return true
	}
	names, err := s.under(ctx, key)
	return err == nil && slices.ContainsFunc(names, func(name string) bool { return name != key })
}

// List implements certmagic.Storage.
func (s shared) List(ctx context.Context, dir string, recursive bool) (found []string, err error) {
	names, err := s.under(ctx, dir)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	add := func(key string) {
		if !seen[key] {
			seen[key] = true
			found = append(found, key)
		}
	}
	for _, name := range names {
		rest := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		parts := strings.Split(rest, "/")
		if rest == "" {
			continue // dir is a file
		}
		for i := range parts {
			if i == 0 || recursive {
				add(path.Join(dir, path.Join(parts[:i+1]...)))
			}
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

// Stat implements certmagic.Storage.
func (s shared) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	content, err := s.Load(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Size: int64(len(content)), IsTerminal: true}, nil
	}
	if s.Exists(ctx, key) {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return certmagic.KeyInfo{}, err
}

// holding counts the locks of a Storage that this server has.
type holding struct {
	Storage
	held atomic.Int64
}

func (h *holding) Lock(ctx context.Context, name string) error {
	err := h.Storage.Lock(ctx, name)
	if err == nil {
		h.held.Add(1)
	}
	return err
}

func (h *holding) TryLock(ctx context.Context, name string) (bool, error) {
	ok, err := h.Storage.TryLock(ctx, name)
	if ok && err == nil {
		h.held.Add(1)
	}
	return ok, err
}

func (h *holding) Unlock(ctx context.Context, name string) error {
	defer h.held.Add(-1)
	return h.Storage.Unlock(ctx, name)
}

// mostHeld is how long a stop waits for what is done under locks. It was told to end.
const mostHeld = 3 * time.Second

func (h *holding) wait() {
	for end := time.Now().Add(mostHeld); h.held.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}
