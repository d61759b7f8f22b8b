package redisstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/redislink"
)

//go:embed lock.lua
var lockSource string

// lockScript takes, renews or releases a lock. It can be retried, because the holder has
// a token.
var lockScript = rueidis.NewLuaScript("#!lua flags=allow-oom\n" + lockSource)

const (
	// fileTimeout bounds an operation with all its retries. A failover takes about as
	// long.
	fileTimeout = 10 * time.Second
	// lockFor is how long a lock outlives its server, and lockRenewed how often the
	// server renews it.
	lockFor     = 30 * time.Second
	lockRenewed = 10 * time.Second
	// maxFile bounds a file, in bytes. A certificate has about 6 KiB.
	maxFile = 1 << 20
)

// Files are small files that all servers with the same Redis and prefix share. They are
// encrypted with a key that only the servers have, and stay until they are deleted. A
// lock ends when it is released, or some time after its server has ended. Files is safe
// for concurrent use.
type Files struct {
	l          *link
	seal       cipher.AEAD
	key        string // a hash with one field per file
	lockPrefix string // prefix of the keys of locks

	mu    sync.Mutex // guards locks
	locks map[string]*lock
}

// A lock is held by this server.
type lock struct {
	token string
	stop  context.CancelFunc
	ended chan struct{}
}

// Files returns the shared files. key is the Key of the store's Config.
func (s *Store) Files(key [inbox.PepperSize]byte) (*Files, error) {
	seal, err := newSeal(key, "inbox: files in redis")
	if err != nil {
		return nil, err
	}
	tagged := s.Prefix() + "{" + redislink.Tag(0) + "}"
	return &Files{l: s.link, seal: seal, key: tagged + "files", lockPrefix: tagged + "lock:", locks: make(map[string]*lock)}, nil
}

// newSeal returns a cipher whose key is derived for one purpose from the servers' common key.
func newSeal(key [inbox.PepperSize]byte, purpose string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key[:], nil, purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Load returns the content of a file. It returns fs.ErrNotExist if the file does not
// exist or cannot be decrypted.
func (f *Files) Load(ctx context.Context, name string) ([]byte, error) {
	m, err := f.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Hget().Key(f.key).Field(name).Build() })
	if rueidis.IsRedisNil(err) {
		return nil, &fs.PathError{Op: "load", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	sealed, err := m.AsBytes()
	if err != nil {
		return nil, err
	}
	content, err := f.seal.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		// It was encrypted with another pepper, or another program wrote it.
		f.l.log.Warn("cannot decrypt a file in redis, ignoring it: was --pepper-file changed?", "file", name)
		return nil, &fs.PathError{Op: "load", Path: name, Err: fs.ErrNotExist}
	}
	return content, nil
}

// Store writes a file.
func (f *Files) Store(ctx context.Context, name string, content []byte) error {
	if len(content) > maxFile {
		return fmt.Errorf("%s: %d bytes, want at most %d", name, len(content), maxFile)
	}
	sealed := f.seal.Seal(nil, nil, content, []byte(name))
	_, err := f.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Hset().Key(f.key).FieldValue().FieldValue(name, rueidis.BinaryString(sealed)).Build()
	})
	return err
}

// Delete removes files. It ignores files that do not exist.
func (f *Files) Delete(ctx context.Context, names ...string) error {
	_, err := f.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Hdel().Key(f.key).Field(names...).Build() })
	return err
}

// Names returns the names of all files.
func (f *Files) Names(ctx context.Context) ([]string, error) {
	m, err := f.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Hkeys().Key(f.key).Build() })
	if err != nil {
		return nil, err
	}
	return m.AsStrSlice()
}

// do retries an idempotent command until Redis executes or refuses it.
func (f *Files) do(ctx context.Context, command func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	return f.retry(ctx, func(ctx context.Context, c rueidis.Client) (rueidis.RedisMessage, error) {
		m, err := c.Do(ctx, command(c.B())).ToMessage()
		if re, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(re.Error(), "WRONGTYPE") {
			f.l.countSpoiled()
			c.Do(ctx, c.B().Unlink().Key(f.key).Build())
			m, err = c.Do(ctx, command(c.B())).ToMessage()
		}
		return m, err
	})
}

func (f *Files) retry(ctx context.Context, once func(context.Context, rueidis.Client) (rueidis.RedisMessage, error)) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fileTimeout, errTooLong)
	defer cancel()
	for {
		m, err := once(ctx, f.l.Client())
		if err == nil || rueidis.IsRedisNil(err) {
			return m, err
		}
		if ctx.Err() != nil {
			return m, f.l.gaveUp(ctx, err)
		}
		if err, final := finalError(err); final {
			return m, err
		}
		f.l.Doubt()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-f.l.Ended():
			return m, unavailable(err)
		case <-ctx.Done():
			return m, f.l.gaveUp(ctx, err)
		}
	}
}

// TryLock takes a lock unless a server has it, and renews it until Unlock. It reports
// whether it took the lock.
func (f *Files) TryLock(ctx context.Context, name string) (bool, error) {
	f.mu.Lock()
	_, ours := f.locks[name]
	f.mu.Unlock()
	if ours {
		return false, nil
	}
	token := rand.Text()
	if taken, err := f.script(ctx, name, token, lockFor); err != nil || !taken {
		return false, err
	}
	running, stop := context.WithCancel(context.Background())
	k := &lock{token: token, stop: stop, ended: make(chan struct{})}
	f.mu.Lock()
	f.locks[name] = k
	f.mu.Unlock()
	go f.keep(running, name, k)
	return true, nil
}

// keep renews a lock until ctx ends or another server has taken it, which happens if this
// server was disconnected for longer than a lock lasts.
func (f *Files) keep(ctx context.Context, name string, k *lock) {
	defer close(k.ended)
	for {
		select {
		case <-time.After(lockRenewed):
		case <-f.l.Ended():
			return
		case <-ctx.Done():
			return
		}
		taken, err := f.script(ctx, name, k.token, lockFor)
		if ctx.Err() == nil && (err != nil || !taken) {
			f.l.log.Debug("cannot renew a lock in redis", "error", err)
		}
		if err == nil && !taken {
			return
		}
	}
}

// Unlock releases a lock.
func (f *Files) Unlock(ctx context.Context, name string) error {
	f.mu.Lock()
	k := f.locks[name]
	delete(f.locks, name)
	f.mu.Unlock()
	if k == nil {
		return errors.New("this server does not have the lock " + name)
	}
	k.stop()
	<-k.ended // a renewal in progress would take it again
	_, err := f.script(ctx, name, k.token, 0)
	return err
}

// script takes or renews a lock for the given time. It releases the lock if the time is
// zero.
func (f *Files) script(ctx context.Context, name, token string, d time.Duration) (bool, error) {
	m, err := f.retry(ctx, func(ctx context.Context, c rueidis.Client) (rueidis.RedisMessage, error) {
		return lockScript.Exec(ctx, c, []string{f.lockPrefix + name}, []string{token, strconv.FormatInt(d.Milliseconds(), 10)}).ToMessage()
	})
	if err != nil {
		return false, err
	}
	n, err := m.AsInt64()
	return n == 1, err
}
