package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"inbox"
	"inbox/memstore"
	"inbox/redisstore"
	"inbox/redistopics"
)

// inMemory is the default of --store. Any other value is the URL of Redis.
const inMemory = "memory"

// opened is a store and its hooks for the program.
type opened struct {
	inbox.Store
	topics *sharedTopics
	pepper *inbox.Pepper
	files  *redisstore.Files     // shared by servers; nil with memory
	run    func(context.Context) // runs until ctx ends
	ready  func() bool           // reports whether the store can be used
	served func() error          // called before serving begins
	ended  func() error          // called after serving has ended
}

func noop() error { return nil }

func (c *serveCommand) limits(quota inbox.Quota) inbox.Limits {
	return c.limit(inbox.Limits{
		TTL: c.InboxTTL, Messages: c.InboxCapacity, Bytes: int(c.InboxBytes), RoomMembers: c.RoomMembers, Rooms: c.RoomsPerPeer,
		Inboxes: c.MaxInboxes, Memory: int64(c.MaxMemory) - c.maxHeld(), Quota: quota,
	})
}

// maxHeld returns how much of --max-memory messages to absent PeerJS peers may use. They
// are held outside the inboxes. It defaults to a sixteenth or, with Redis, a sixteenth of
// the default of --max-memory.
func (c *serveCommand) maxHeld() int64 {
	switch {
	case !c.PeerJS:
		return 0
	case c.PeerJSHeld > 0:
		return int64(c.PeerJSHeld)
	case c.Store != inMemory:
		return defaultMaxMemory / 16
	}
	return int64(c.MaxMemory) / 16
}

func (c *serveCommand) openStore(ctx context.Context, quota inbox.Quota, w *watched, log *slog.Logger) (*opened, error) {
	if c.Store != inMemory {
		return c.openRedis(ctx, quota, w, log)
	}
	if c.Snapshot != "" {
		if err := memstore.CheckSave(c.Snapshot); err != nil {
			return nil, fmt.Errorf("--snapshot %s: the server could not save its inboxes there when it stops: %w", c.Snapshot, err)
		}
		if free, ok := freeSpace(filepath.Dir(c.Snapshot)); ok && free < int64(c.MaxMemory) {
			log.Warn("--snapshot: the inboxes may need more space than the disk has left", "free", size(free), "max-memory", c.MaxMemory)
		}
	}
	limits := c.limits(quota)
	store := memstore.New(limits)
	store.Delivery = w.delivery()
	w.add(memoryFamilies(store, limits.Memory, limits.Inboxes)...)
	pepper, loaded, err := c.load(store)
	if err != nil {
		return nil, err
	}
	o := &opened{
		Store: store, topics: c.memoryTopics(), pepper: pepper,
		run: func(ctx context.Context) { store.Run(ctx) }, ready: func() bool { return true }, served: noop, ended: noop,
	}
	if loaded {
		o.served = func() error {
			if err := os.Remove(c.Snapshot); err != nil {
				return fmt.Errorf("cannot remove the snapshot after reading it: %w", err)
			}
			inboxes, _ := store.Usage()
			log.Info("snapshot read", "inboxes", inboxes)
			return nil
		}
	}
	if c.Snapshot != "" {
		o.ended = func() error {
			if err := store.Save(c.Snapshot, pepper); err != nil {
				return fmt.Errorf("cannot write the snapshot: %w", err)
			}
			inboxes, _ := store.Usage()
			log.Info("snapshot written", "inboxes", inboxes)
			return nil
		}
	}
	return o, nil
}

func (c *serveCommand) openRedis(ctx context.Context, quota inbox.Quota, w *watched, log *slog.Logger) (*opened, error) {
	key, err := readPepper(c.pepperFile())
	if err != nil {
		return nil, fmt.Errorf("--pepper-file: %w", err)
	}
	password, err := c.redisPassword()
	if err != nil {
		return nil, err
	}
	config := redisstore.Config{
		URL: c.Store, Password: password, Prefix: c.RedisPrefix, Key: key, Limits: c.limits(quota), WaitReplicas: c.RedisWaitReplicas, Log: log,
	}
	if c.RedisCA != "" {
		authorities, err := os.ReadFile(c.RedisCA)
		if err != nil {
			return nil, fmt.Errorf("--redis-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("--redis-ca: %s contains no PEM certificate", c.RedisCA)
		}
	}
	if c.RedisCert != "" {
		files := &certificateFiles{cert: c.RedisCert, key: c.RedisKey, log: log}
		if err := files.load(); err != nil {
			return nil, fmt.Errorf("--redis-cert: %w", err)
		}
		config.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return files.get(), nil }
	}
	config.Delivery, config.RoundTrips = w.delivery(), w.roundTrips
	store, err := redisstore.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	w.add(redisFamilies(store, w.roundTrips)...)
	files, err := store.Files(key)
	if err != nil {
		return nil, err
	}
	return &opened{
		Store: store, topics: c.redisTopics(redistopics.Config{Link: store.Link(), Key: key, Log: log}), pepper: inbox.NewPepper(key), files: files,
		run: store.Run, ready: store.Ready, served: noop, ended: noop,
	}, nil
}

// redisPassword returns the password of Redis if it is not in the URL.
func (c *serveCommand) redisPassword() (string, error) {
	if c.RedisPasswordFile == "" {
		return os.Getenv(redisPassword), nil
	}
	content, err := os.ReadFile(c.RedisPasswordFile)
	if err != nil {
		return "", fmt.Errorf("--redis-password-file: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return "", fmt.Errorf("--redis-password-file: %s is empty", c.RedisPasswordFile)
	}
	return password, nil
}

// readPepper derives the pepper's key from the content of a file, without trailing line
// breaks.
func readPepper(path string) (key [inbox.PepperSize]byte, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return key, err
	}
	content = bytes.TrimRight(content, "\r\n")
	if len(content) < inbox.PepperSize {
		return key, fmt.Errorf("%s: %d bytes, want at least %d (try: openssl rand -hex 32)", path, len(content), inbox.PepperSize)
	}
	return sha256.Sum256(content), nil
}

// load reads the snapshot into the store and returns its pepper, or a new pepper if there
// is no snapshot.
func (c *serveCommand) load(store *memstore.Store) (pepper *inbox.Pepper, loaded bool, err error) {
	var key [inbox.PepperSize]byte
	crand.Read(key[:])
	if c.Snapshot == "" {
		return inbox.NewPepper(key), false, nil
	}
	saved, err := store.Load(c.Snapshot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Find out now whether a snapshot can be written, not at shutdown.
		probe, err := os.CreateTemp(filepath.Dir(c.Snapshot), ".inbox-*")
		if err != nil {
			return nil, false, fmt.Errorf("cannot write a snapshot: %w", err)
		}
		return inbox.NewPepper(key), false, errors.Join(probe.Close(), os.Remove(probe.Name()))
	case err != nil:
		return nil, false, fmt.Errorf("cannot read the snapshot %s: %w", c.Snapshot, err)
	}
	return inbox.NewPepper(saved), true, nil
}
