package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// lockSnapshot makes sure that no other server reads or writes the snapshot. A server
// that is stopping gives up its port before it has written its snapshot: the next one
// waits here, or it would begin without those inboxes.
//
// The lock is on a file beside the snapshot, and ends with the process.
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
			log.Warn("the snapshot cannot be locked: make sure that no other server uses it", "error", err)
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
			return nil, errors.Join(fmt.Errorf("the snapshot %s belongs to another server that is running", c.Snapshot), f.Close())
		}
	}
}

var errLocked = errors.New("another process holds the lock")
