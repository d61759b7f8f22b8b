package peerjs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"inbox"
)

// enter notes a peer who is there, for the list.
func (h *Handler) enter(p *peer) {
	if h.dir == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Put(p, p.id())
	h.dir.changed.Store(true)
}

// exit notes that it is there no more.
func (h *Handler) exit(p *peer) {
	if h.dir == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Delete(p)
	h.dir.changed.Store(true)
}

// ids lists the peers on this server.
func (h *Handler) ids() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]string, 0, h.open.Len())
	for _, id := range h.open.All() {
		ids = append(ids, id)
	}
	return sorted(ids)
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}

const (
	publishAfter = 500 * time.Millisecond // a change
	chunkBytes   = 32 << 10               // of a list, in one message
	chunks       = 100                    // that are read of a list, and servers of the register
)

// A directory tells the servers that share a store of each other's peers. It knows
// of no way but inboxes: each server has one that holds the list of its peers, and
// all have one together, the register, that holds the names of those inboxes. No
// client can name them, and only whoever has the pepper knows their secrets.
type directory struct {
	h        *Handler
	register inbox.Peer
	name     string // of this server, by lot
	changed  atomic.Bool
}

func newDirectory(h *Handler) *directory {
	d := &directory{h: h, name: rand.Text()}
	d.register = d.owned("peerjs-servers:" + h.Key)
	return d
}

// owned is an inbox of the servers themselves.
func (d *directory) owned(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: d.h.Pepper.Secret(id, "")}
}

// list is the inbox with the list of the server of that name.
func (d *directory) list(name string) inbox.Peer {
	return d.owned("peerjs-list:" + d.h.Key + ":" + name)
}

// Run tells other servers which peers are here, until ctx ends. It returns at once
// without Discovery. Without it, Peers lists those of this server alone.
func (h *Handler) Run(ctx context.Context) {
	if h.dir != nil {
		h.dir.run(ctx)
	}
}

func (d *directory) run(ctx context.Context) {
	tick := time.NewTicker(publishAfter)
	defer tick.Stop()
	var due time.Time // the register expires
	for {
		now := time.Now()
		again := !now.Before(due)
		if d.changed.Swap(false) || again {
			ttl, err := d.publish(ctx, again)
			switch {
			case err != nil && ctx.Err() == nil:
				d.h.logStore(err)
				d.changed.Store(true)
			case again:
				due = now.Add(ttl / 3)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			// Without an error to speak of: if it fails, the list expires.
			_ = d.h.Store.Close(context.WithoutCancel(ctx), d.list(d.name), 0)
			return
		}
	}
}

// publish puts the list of this server in place of the last one, and its name into
// the register if that is due.
func (d *directory) publish(ctx context.Context, register bool) (ttl time.Duration, err error) {
	list := d.list(d.name)
	b, err := d.h.Store.Look(ctx, list, inbox.Cursor{}, chunks, nil)
	if err != nil {
		return 0, err
	}
	ids := d.h.ids()
	err = d.post(ctx, list, ids)
	if errors.Is(err, inbox.ErrFull) { // there is no room for two
		if b, err = d.h.Store.Look(ctx, list, b.Cursor, chunks, nil); err == nil {
			err = d.post(ctx, list, ids)
		}
	}
	if err != nil && !errors.Is(err, inbox.ErrFull) { // more peers than fit into an inbox
		return 0, err
	}
	if b, err = d.h.Store.Acknowledge(ctx, list, b.Cursor, nil); err != nil || !register {
		return b.TTL, err
	}
	return b.TTL, d.signUp(ctx, b.TTL)
}

// post appends a list to an inbox.
func (d *directory) post(ctx context.Context, list inbox.Peer, ids []string) error {
	for len(ids) > 0 {
		n, size := 0, 0
		for n < len(ids) && (n == 0 || size+len(ids[n]) < chunkBytes) {
			size += len(ids[n])
			n++
		}
		body, err := json.Marshal(ids[:n])
		if err != nil {
			return err
		}
		if _, err := d.h.Store.Send(ctx, list, list.ID, inbox.Draft{Body: body}); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// signUp puts this server's name into the register, and takes out those that were
// not put there again for a while.
func (d *directory) signUp(ctx context.Context, ttl time.Duration) error {
	b, err := d.h.Store.Look(ctx, d.register, inbox.Cursor{}, chunks, nil)
	if err != nil {
		return err
	}
	if _, err := d.h.Store.Send(ctx, d.register, d.register.ID, inbox.Draft{Body: []byte(d.name)}); err != nil {
		return err
	}
	var old inbox.Cursor
	for _, m := range b.Messages {
		// By the store's clock alone, which may differ from ours.
		if b.Messages[len(b.Messages)-1].Time.Sub(m.Time) < ttl {
			break
		}
		old = m.Cursor
	}
	_, err = d.h.Store.Acknowledge(ctx, d.register, old, nil)
	return err
}

// all lists the peers of all servers.
func (d *directory) all(ctx context.Context) ([]string, error) {
	ids := d.h.ids()
	b, err := d.h.Store.Look(ctx, d.register, inbox.Cursor{}, chunks, nil)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{d.name: true}
	for _, m := range b.Messages {
		name := string(m.Body)
		if seen[name] {
			continue
		}
		seen[name] = true
		theirs, err := d.h.Store.Look(ctx, d.list(name), inbox.Cursor{}, chunks, nil)
		if err != nil {
			return nil, err
		}
		for _, chunk := range theirs.Messages {
			var more []string
			if err := json.Unmarshal(chunk.Body, &more); err != nil {
				return nil, err
			}
			ids = append(ids, more...)
		}
	}
	return sorted(ids), nil
}
