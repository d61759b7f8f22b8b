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

// Storage keeps certificates and their keys, and locks operations that only one server
// may perform at a time.
type Storage interface {
	certmagic.Storage
	certmagic.TryLocker
}

// NewDirectory returns a Storage in a directory, which it creates. Only the owner can
// read the files.
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

// Files are shared by several servers. Load returns fs.ErrNotExist if a file does not
// exist. A lock taken by TryLock ends with the server that holds it.
type Files interface {
	Load(ctx context.Context, name string) ([]byte, error)
	Store(ctx context.Context, name string, content []byte) error
	Delete(ctx context.Context, names ...string) error
	Names(ctx context.Context) ([]string, error)
	TryLock(ctx context.Context, name string) (bool, error)
	Unlock(ctx context.Context, name string) error
}

// NewShared returns a Storage for all servers that share f.
func NewShared(f Files) Storage { return shared{f} }

// shared maps names with slashes to directories.
type shared struct{ Files }

// lockInterval is the time between attempts to take a lock that another server holds.
const lockInterval = time.Second

// Lock implements certmagic.Locker.
func (s shared) Lock(ctx context.Context, name string) error {
	for {
		if ok, err := s.TryLock(ctx, name); ok || err != nil {
			return err
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Delete implements certmagic.Storage. It removes whole directories.
func (s shared) Delete(ctx context.Context, key string) error {
	names, err := s.under(ctx, key)
	if err != nil || len(names) == 0 {
		return err
	}
	return s.Files.Delete(ctx, names...)
}

// under returns key itself, if it exists, and all names in its directory.
func (s shared) under(ctx context.Context, key string) (under []string, err error) {
	names, err := s.Names(ctx)
	for _, name := range names {
		if name == key || key == "" || strings.HasPrefix(name, key+"/") {
			under = append(under, name)
		}
	}
	return under, err
}

// Exists implements certmagic.Storage. Files that cannot be decrypted do not exist.
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

// holding counts the locks that this server holds.
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

// maxHeld bounds how long a stop waits for operations that hold locks. Their contexts have
// ended.
const maxHeld = 3 * time.Second

func (h *holding) wait() {
	for end := time.Now().Add(maxHeld); h.held.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}
