package main

import (
	"context"
	"errors"
	"sync/atomic"

	"inbox"
	"inbox/internal/metrics"
)

// The operations of a store, as indexes into counters.
const (
	opSend = iota
	opLook
	opAcknowledge
	opTake
	opLeave
	opClose
	opJoin
	opLeaveRoom
	opInvite
	opRedeem
	opCount
)

var operationNames = [opCount]string{"send", "look", "acknowledge", "take", "leave", "close", "join", "leave-room", "invite", "redeem"}

// operations counts calls to a store and their failures.
type operations struct {
	done, failed [opCount]atomic.Uint64
	accepted     atomic.Uint64 // messages
	replayed     atomic.Uint64 // sends with a key that was already stored
	resets       atomic.Uint64
}

// note counts one operation. Only an unavailable store counts as a failure.
func (o *operations) note(op int, err error) {
	o.done[op].Add(1)
	if err != nil && errors.Is(err, inbox.ErrUnavailable) {
		o.failed[op].Add(1)
	}
}

func (o *operations) families() []metrics.Family {
	each := func(counts *[opCount]atomic.Uint64) func(func(float64, ...string)) {
		return func(emit func(float64, ...string)) {
			for op := range counts {
				emit(float64(counts[op].Load()), operationNames[op])
			}
		}
	}
	return []metrics.Family{
		metrics.Counters("inbox_store_operations_total", "Operations on the store, successful or not.", []string{"operation"}, each(&o.done)),
		metrics.Counters("inbox_store_errors_total", "Operations that failed because the store was unavailable.", []string{"operation"}, each(&o.failed)),
		metrics.Counter("inbox_messages_accepted_total", "Messages accepted into inboxes.", count(&o.accepted)),
		metrics.Counter("inbox_messages_replayed_total", "Sends repeated with the same key after the message had been accepted.", count(&o.replayed)),
		metrics.Counter("inbox_resets_total", "Receivers told that their inbox was reset, so messages may be lost.", count(&o.resets)),
	}
}

func count(n *atomic.Uint64) func() float64 {
	return func() float64 { return float64(n.Load()) }
}

// countedStore wraps a store and counts its operations.
type countedStore struct {
	inbox.Store
	*operations
}

// Send implements [inbox.Store].
func (s countedStore) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	replayed, err = s.Store.Send(ctx, from, to, d)
	s.note(opSend, err)
	switch {
	case replayed:
		s.replayed.Add(1)
	case err == nil:
		s.accepted.Add(1)
	}
	return replayed, err
}

// Look implements [inbox.Store].
func (s countedStore) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	b, err := s.Store.Look(ctx, p, after, limit, w)
	s.note(opLook, err)
	if b.Reset {
		s.resets.Add(1)
	}
	return b, err
}

// Acknowledge implements [inbox.Store].
func (s countedStore) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	b, err := s.Store.Acknowledge(ctx, p, upTo, w)
	s.note(opAcknowledge, err)
	return b, err
}

// Take implements [inbox.Store].
func (s countedStore) Take(ctx context.Context, p inbox.Peer, b inbox.Batch, w *inbox.Waker) (end func(delivered bool)) {
	if end = s.Store.Take(ctx, p, b, w); end != nil { // otherwise the pop acknowledges
		s.note(opTake, nil)
	}
	return end
}

// Leave implements [inbox.Store].
func (s countedStore) Leave(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	err := s.Store.Leave(ctx, p, upTo, w)
	s.note(opLeave, err)
	return err
}

// Close implements [inbox.Store].
func (s countedStore) Close(ctx context.Context, p inbox.Peer, life uint64) (int, error) {
	told, err := s.Store.Close(ctx, p, life)
	s.note(opClose, err)
	return told, err
}

// Join implements [inbox.Store].
func (s countedStore) Join(ctx context.Context, p inbox.Peer, room string) ([]string, error) {
	members, err := s.Store.Join(ctx, p, room)
	s.note(opJoin, err)
	return members, err
}

// LeaveRoom implements [inbox.Store].
func (s countedStore) LeaveRoom(ctx context.Context, p inbox.Peer, room string) (int, error) {
	left, err := s.Store.LeaveRoom(ctx, p, room)
	s.note(opLeaveRoom, err)
	return left, err
}

// Invite implements [inbox.Store].
func (s countedStore) Invite(ctx context.Context, p inbox.Peer, room string) (string, error) {
	code, err := s.Store.Invite(ctx, p, room)
	s.note(opInvite, err)
	return code, err
}

// Redeem implements [inbox.Store].
func (s countedStore) Redeem(ctx context.Context, code string) (inbox.Invitation, error) {
	i, err := s.Store.Redeem(ctx, code)
	s.note(opRedeem, err)
	return i, err
}
