package client_test

import (
	"context"
	"fmt"
	"sync"
	"time"
	"os"
	"runtime/debug"

	"inbox"
)

type dbg struct {
	inbox.Store
	mu  sync.Mutex
	log []string
	last map[string]*inbox.Receiver
}

func (d *dbg) Receive(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, r *inbox.Receiver) (inbox.Batch, error) {
	before := ctx.Err()
	b, err := d.Store.Receive(ctx, p, after, limit, r)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil { d.last = map[string]*inbox.Receiver{} }
	if r != nil && (d.last[p.ID] != r || err != nil) {
		d.last[p.ID] = r
		d.log = append(d.log, fmt.Sprintf("%v %s %p ctx=%v/%v err=%v limit=%d %s", time.Now().Format("05.000000"), p.ID, r, before, ctx.Err(), err, limit, debug.Stack()))
	}
	return b, err
}

func (d *dbg) dump() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.log {
		fmt.Fprintln(os.Stderr, l)
	}
}
