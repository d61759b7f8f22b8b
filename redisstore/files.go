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

// lockScript takes, keeps or gives back a lock. It can be run again: the holder has a token.
var lockScript = rueidis.NewLuaScript("#!lua flags=allow-oom\n" + lockSource)

const (
	// fileTimeout is what an operation takes at most, with what is tried again in it. A
	// failover takes about as long.
	fileTimeout = 10 * time.Second
	// lockFor is how long a lock outlives the server that has it; lockRenewed is how often
	// that server renews it.
	lockFor     = 30 * time.Second
	lockRenewed = 10 * time.Second
	// biggestFile bounds one file, in bytes. A certificate has about 6 KiB.
	biggestFile = 1 << 20
)

// Files are small files that all servers of a Redis and a prefix share. They are sealed
// with a key that only the servers have, and stay until they are deleted. A lock ends when
// it is given back, or some time after its server has ended.
type Files struct {
	l        *link
	seal     cipher.AEAD
	key      string // a hash, with a field for each file
	lockedAt string // what the keys of locks begin with

	mu    sync.Mutex // guards locks
	locks map[string]*lock
}

// lock is one that this server has.
type lock struct {
	token string
	stop  context.CancelFunc
	ended chan struct{}
}

// Files returns the shared files. key is the Key of the store's Config.
func (s *Store) Files(key [inbox.PepperSize]byte) (*Files, error) {
	derived, err := hkdf.Key(sha256.New, key[:], nil, "inbox: files in redis", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	tagged := s.Prefix() + "{" + redislink.Tag(0) + "}"
	return &Files{l: s.link, seal: seal, key: tagged + "files", lockedAt: tagged + "lock:", locks: make(map[string]*lock)}, nil
}

// Load returns the content of a file. The error is fs.ErrNotExist if it is not there, or if
// it is not one of ours.
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
		// It was sealed with another pepper, or somebody wrote here.
		f.l.log.Warn("a file in redis cannot be opened, as if it were not there: was --pepper-file changed?", "file", name)
		return nil, &fs.PathError{Op: "load", Path: name, Err: fs.ErrNotExist}
	}
	return content, nil
}

// Store writes a file.
func (f *Files) Store(ctx context.Context, name string, content []byte) error {
	if len(content) > biggestFile {
		return fmt.Errorf("%s: %d bytes, want at most %d", name, len(content), biggestFile)
	}
	sealed := f.seal.Seal(nil, nil, content, []byte(name))
	_, err := f.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Hset().Key(f.key).FieldValue().FieldValue(name, rueidis.BinaryString(sealed)).Build()
	})
	return err
}

// Delete removes files. It is no error if they are not there.
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

// do runs a command that can be repeated, until Redis has done it or refuses.
func (f *Files) do(ctx context.Context, command func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	return f.again(ctx, func(ctx context.Context, c rueidis.Client) (rueidis.RedisMessage, error) {
		m, err := c.Do(ctx, command(c.B())).ToMessage()
		if re, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(re.Error(), "WRONGTYPE") {
			f.l.noteSpoiled()
			c.Do(ctx, c.B().Unlink().Key(f.key).Build())
			m, err = c.Do(ctx, command(c.B())).ToMessage()
		}
		return m, err
	})
}

func (f *Files) again(ctx context.Context, once func(context.Context, rueidis.Client) (rueidis.RedisMessage, error)) (rueidis.RedisMessage, error) {
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

// TryLock takes a lock, if no server has it, and keeps it until Unlock.
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

// keep renews a lock until ctx ends, or another server has it: then ours was away for
// longer than a lock lasts.
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
			f.l.log.Debug("a lock in redis was not renewed", "error", err)
		}
		if err == nil && !taken {
			return
		}
	}
}

// Unlock gives a lock back.
func (f *Files) Unlock(ctx context.Context, name string) error {
	f.mu.Lock()
	k := f.locks[name]
	delete(f.locks, name)
	f.mu.Unlock()
	if k == nil {
		return errors.New("this server does not have the lock " + name)
	}
	k.stop()
	<-k.ended // or it would be taken once more
	_, err := f.script(ctx, name, k.token, 0)
	return err
}

// script takes or renews the lock for that time, or gives it back after none.
func (f *Files) script(ctx context.Context, name, token string, d time.Duration) (bool, error) {
	m, err := f.again(ctx, func(ctx context.Context, c rueidis.Client) (rueidis.RedisMessage, error) {
		return lockScript.Exec(ctx, c, []string{f.lockedAt + name}, []string{token, strconv.FormatInt(d.Milliseconds(), 10)}).ToMessage()
	})
	if err != nil {
		return false, err
	}
	n, err := m.AsInt64()
	return n == 1, err
}
