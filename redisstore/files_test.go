package redisstore

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

func openFiles(t *testing.T, c Config, key [inbox.PepperSize]byte) *Files {
	t.Helper()
	f, err := open(t, c).Files(key)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// number returns the integer reply of a command, or -3 if it is not an integer.
func number(redis *redistest.Server, command ...string) int64 {
	m := redis.Must(command...)
	if n, err := m.AsInt64(); err == nil {
		return n
	}
	return -3
}

// shareFiles is a short test of files that two servers share, for any kind of Redis.
func shareFiles(t *testing.T, one, two *Store) {
	ours, err := one.Files(testKey)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := two.Files(testKey)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := ours.Store(ctx, "x", []byte("content")); err != nil {
		t.Fatal(err)
	}
	if got, err := theirs.Load(ctx, "x"); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	if ok, err := ours.TryLock(ctx, "x"); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := theirs.TryLock(ctx, "x"); ok || err != nil {
		t.Errorf("two servers have the lock: %v", err)
	}
	if err := errors.Join(ours.Unlock(ctx, "x"), theirs.Delete(ctx, "x")); err != nil {
		t.Error(err)
	}
}

// Servers with the same pepper share files. Redis stores them encrypted and without an
// expiry.
func TestFilesAreSharedAndEncrypted(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	c := Config{URL: redis.URL(), Prefix: "mine:"}
	one, two := openFiles(t, c, testKey), openFiles(t, c, testKey)
	ctx := t.Context()
	if _, err := two.Load(ctx, "a/key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	const secret = "-----BEGIN EC PRIVATE KEY-----"
	for _, name := range []string{"a/key", "b"} {
		if err := one.Store(ctx, name, []byte(secret+name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := two.Load(ctx, "a/key"); err != nil || string(got) != secret+"a/key" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := one.Store(ctx, "b", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Load(ctx, "b"); err != nil || string(got) != "new" {
		t.Errorf("got %q, %v", got, err)
	}
	names, err := two.Names(ctx)
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"a/key", "b"}) {
		t.Errorf("the names are %v, %v", names, err)
	}

	all := redis.Must("KEYS", "*")
	keys, err := all.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "mine:{") {
			t.Errorf("the key %s lacks our prefix", key)
		}
	}
	if ttl := number(redis, "TTL", one.key); ttl != -1 {
		t.Errorf("the files expire in %d s", ttl)
	}
	if raw := redis.Text("DUMP", one.key) + redis.Text("HGET", one.key, "a/key"); strings.Contains(raw, "PRIVATE") {
		t.Error("redis contains the plain text of a file")
	}

	// A value that was copied from another file does not count.
	redis.Must("HSET", one.key, "b", redis.Text("HGET", one.key, "a/key"))
	if got, err := two.Load(ctx, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a value of another file: %q, %v", got, err)
	}
	other, err := open(t, c).Files([inbox.PepperSize]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Load(ctx, "a/key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with another pepper: %q, %v", got, err)
	}

	if err := errors.Join(one.Delete(ctx, "a/key", "b", "c"), one.Store(ctx, "big", make([]byte, maxFile))); err != nil {
		t.Error(err)
	}
	if _, err := two.Load(ctx, "a/key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a deleted file: %v", err)
	}
	if one.Store(ctx, "too big", make([]byte, maxFile+1)) == nil {
		t.Error("a file that is too large was stored")
	}

	// Another program overwrites the key.
	redis.Must("SET", one.key, "x")
	if err := one.Store(ctx, "a", []byte("again")); err != nil {
		t.Error(err)
	}
	if got, err := two.Load(ctx, "a"); err != nil || string(got) != "again" {
		t.Errorf("after the key was overwritten: %q, %v", got, err)
	}
}

// Only one holder has a lock at a time. A lock does not expire while its server lives,
// but does afterwards.
func TestFileLocksAreExclusive(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	c := Config{URL: redis.URL()}
	one, two := openFiles(t, c, testKey), openFiles(t, c, testKey)
	ctx := t.Context()
	var inside, most atomic.Int64
	var all sync.WaitGroup
	for _, f := range []*Files{one, two, one, two} {
		all.Go(func() {
			for done := 0; done < 5; {
				ok, err := f.TryLock(ctx, "x")
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					continue
				}
				most.Store(max(most.Load(), inside.Add(1)))
				inside.Add(-1)
				if err := f.Unlock(ctx, "x"); err != nil {
					t.Error(err)
				}
				done++
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d holders had the lock at the same time", most.Load())
	}
	if number(redis, "EXISTS", one.lockPrefix+"x") != 0 {
		t.Error("a released lock still exists")
	}

	if ok, err := one.TryLock(ctx, "x"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	redis.Must("PEXPIRE", one.lockPrefix+"x", "12000") // less than it had, but enough until its renewal
	inboxtest.Until(t, "the lock is renewed", func() bool {
		return number(redis, "PTTL", one.lockPrefix+"x") > 15000
	})
	if ok, err := two.TryLock(ctx, "x"); ok || err != nil {
		t.Errorf("two servers have the lock: %v", err)
	}
	redis.Must("PEXPIRE", one.lockPrefix+"x", "1") // as if its server had ended
	inboxtest.Until(t, "another server has the lock", func() bool {
		ok, err := two.TryLock(ctx, "x")
		return ok && err == nil
	})
	if err := one.Unlock(ctx, "x"); err != nil {
		t.Error(err)
	}
	if ok, err := one.TryLock(ctx, "x"); ok || err != nil {
		t.Errorf("releasing a lost lock released another server's: %v", err)
	}
	if two.Unlock(ctx, "x") != nil || two.Unlock(ctx, "x") == nil {
		t.Error("a lock was not released exactly once")
	}
}

// While Redis is unavailable, operations end with their context.
func TestFilesDuringAnOutage(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f := openFiles(t, Config{URL: redis.URL()}, testKey)
	redis.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := f.Load(ctx, "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	redis.Restart()
	if err := f.Store(t.Context(), "a", nil); err != nil {
		t.Errorf("after redis came back: %v", err)
	}
}
