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

// enter adds an open peer to the list.
func (h *Handler) enter(p *peer) {
	if h.dir == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Put(p, p.id())
	h.dir.changed.Store(true)
}

// exit removes it from the list.
func (h *Handler) exit(p *peer) {
	if h.dir == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Delete(p)
	h.dir.changed.Store(true)
}

// ids returns the peers on this server.
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
	publishAfter = 500 * time.Millisecond // delay after a change
	chunkBytes   = 32 << 10               // of a list, per message
	chunks       = 100                    // most messages of a list and most servers in the register that are read
)

// A directory lets servers that share a store list each other's peers. It uses only inboxes.
// Each server has one with the list of its peers. A common inbox, the register, has the names
// of the servers. Clients cannot name these inboxes, and their secrets require the pepper.
type directory struct {
	h        *Handler
	register inbox.Peer
	name     string // random name of this server
	changed  atomic.Bool
}

func newDirectory(h *Handler) *directory {
	d := &directory{h: h, name: rand.Text()}
	d.register = d.owned("peerjs-servers:" + h.Key)
	return d
}

// owned returns an inbox of the servers themselves.
func (d *directory) owned(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: d.h.Pepper.Secret(id, "")}
}

// list returns the inbox with the peers of the server called name.
func (d *directory) list(name string) inbox.Peer {
	return d.owned("peerjs-list:" + d.h.Key + ":" + name)
}

// Run publishes this server's peers to the other servers until ctx ends. Without
// Config.Discovery it returns immediately. If Run is not running, Peers lists the peers
// of this server only.
func (h *Handler) Run(ctx context.Context) {
	if h.dir != nil {
		h.dir.run(ctx)
	}
}

func (d *directory) run(ctx context.Context) {
	tick := time.NewTicker(publishAfter)
	defer tick.Stop()
	var due time.Time // when the server must sign up again
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
			// Ignore the error: if this fails, the list expires.
			_, _ = d.h.Store.Close(context.WithoutCancel(ctx), d.list(d.name), 0)
			return
		}
	}
}

// publish replaces this server's list and, if register is true, renews its name in the
// register.
func (d *directory) publish(ctx context.Context, register bool) (ttl time.Duration, err error) {
	list := d.list(d.name)
	b, err := d.h.Store.Look(ctx, list, inbox.Cursor{}, chunks, nil)
	if err != nil {
		return 0, err
	}
	ids := d.h.ids()
	err = d.post(ctx, list, ids)
	if errors.Is(err, inbox.ErrFull) { // no room for both lists
		if b, err = d.h.Store.Look(ctx, list, b.Cursor, chunks, nil); err == nil {
			err = d.post(ctx, list, ids)
		}
	}
	if err != nil && !errors.Is(err, inbox.ErrFull) { // if the list does not fit into an inbox, publish what fits
		return 0, err
	}
	if b, err = d.h.Store.Acknowledge(ctx, list, b.Cursor, nil); err != nil || !register {
		return b.TTL, err
	}
	return b.TTL, d.signUp(ctx, b.TTL)
}

// post appends a list to an inbox, in chunks.
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

// signUp adds this server's name to the register and removes names that were not renewed
// for a TTL.
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
		// Compare only times of the store: its clock may differ from ours.
		if b.Messages[len(b.Messages)-1].Time.Sub(m.Time) < ttl {
			break
		}
		old = m.Cursor
	}
	_, err = d.h.Store.Acknowledge(ctx, d.register, old, nil)
	return err
}

// all returns the peers of all servers.
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
