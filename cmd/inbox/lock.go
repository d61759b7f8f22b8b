package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// lockSnapshot locks the snapshot against other servers. A stopping server releases its
// port before it writes its snapshot. The next server waits here, since it would
// otherwise start without those inboxes.
//
// The lock is on a file next to the snapshot and ends with the process.
func (c *serveCommand) lockSnapshot(ctx context.Context, log *slog.Logger) (unlock func(), err error) {
	if c.Snapshot == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(c.Snapshot+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write a snapshot: %w", err)
	}
	last, waits := time.Now().Add(c.Drain+settle), false
	for {
		err := lockFile(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, errLocked) { // as on some network file systems
			log.Warn("cannot lock the snapshot: make sure that no other server uses it", "error", err)
			return func() { f.Close() }, nil
		}
		if !waits {
			waits = true
			log.Info("waiting for another server to write the snapshot", "at_most", c.Drain+settle)
		}
		if !pause(ctx, last) {
			if ctx.Err() != nil {
				return nil, errors.Join(errInterrupted, f.Close())
			}
			return nil, errors.Join(fmt.Errorf("the snapshot %s is in use by another server", c.Snapshot), f.Close())
		}
	}
}

var errLocked = errors.New("another process holds the lock")
