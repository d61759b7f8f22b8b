// Package inbox is the vocabulary of a temporary mailbox through which WebRTC
// peers find each other: what a peer, a message and a cursor are, and what a
// [Store] of inboxes promises.
//
// It imports the standard library alone. Stores (memstore) and protocols
// (inboxhttp) import it, and do not know each other.
package inbox

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Peer is a participant who has authenticated: its id, and what the server
// keeps of its password.
type Peer struct {
	ID     string // see [CheckID]; one with a colon belongs to another protocol than our own
	Secret Secret
	// Client is the address that the credentials came from, or the first of its /64: see
	// [Limits.Guesses] and [Limits.Quota]. Nil if neither is for this peer.
	Client *netip.Addr
	// Admitted says that a store has found the secret right before. If it is wrong now, that
	// is no guess. What the peer opens counts all the same.
	Admitted bool
}

// A Draft is a message on its way into an inbox.
type Draft struct {
	// Body is opaque. A store keeps the slice: the caller MUST NOT change it
	// after Send.
	Body []byte
	// Key, if not empty, makes the send repeatable: see [Store.Send] and
	// [CheckKey].
	Key string
}

// A Message lies in an inbox until it is acknowledged. It never changes.
type Message struct {
	Cursor Cursor
	From   string    // the sender's id
	Time   time.Time // when the store accepted it, UTC
	Body   []byte    // not to be written to
}

// A Cursor is a position in one life of one inbox. The zero Cursor is the
// position before every message of every life.
type Cursor struct {
	// Life is random and never zero; an inbox that expired and was opened again
	// has another.
	Life uint64
	// Seq counts the messages of a life from 1. It only grows and is never
	// given out twice.
	Seq uint64
}

// A Batch is the oldest messages of an inbox, as [Store.Look] found them.
type Batch struct {
	// Messages stay in the inbox until they are acknowledged. The slice is a
	// view: the caller MUST NOT write to it.
	Messages []Message
	// Cursor is that of the last message here or, if there is none, the
	// position up to which the inbox has been acknowledged. See also Start.
	Cursor Cursor
	// Reset says that the caller's cursor is from an earlier life: mail may
	// have been missed.
	Reset bool
	// TTL is how long the inbox lives from now on, unless its owner asks again.
	TTL time.Duration
	// Taken, if not nil, says that messages are hidden by [Store.Take]. The channel
	// is closed when they have left the inbox or are back.
	Taken <-chan struct{}
}

// Start is the position before the messages of b.
func (b Batch) Start() Cursor {
	return Cursor{b.Cursor.Life, b.Cursor.Seq - uint64(len(b.Messages))}
}

// First copies the oldest messages of a view, as many as have most bytes of bodies in
// all, but at least one, and returns what their bodies take. Whoever holds the view
// itself holds all that is in it, also when it has left the inbox.
func First(view []Message, most int) (messages []Message, size int) {
	n := 0
	for n < len(view) && (n == 0 || size+len(view[n].Body) <= most) {
		size += len(view[n].Body)
		n++
	}
	return slices.Clone(view[:n]), size
}

// A Store keeps inboxes. Package storetest says, as tests, what each method
// must do. Implementations MUST be safe for concurrent use. No method waits.
//
// Every method may fail with [ErrUnavailable]. Look, Acknowledge and Leave are an
// owner's doings and restart the expiry of its inbox; Send does not. Every method that
// fails with ErrUnauthorized may fail with ErrRateLimited instead, for a peer with a
// Client: see [Limits.Guesses].
type Store interface {
	// Send opens the sender's inbox if it has none, appends the message to the
	// inbox of the peer called to, and wakes its receiver.
	//
	// With a key, a repeated send (same sender, recipient, key and body)
	// appends nothing and reports replayed, also when the inbox is full by now.
	// The last [KeysRemembered] keys of an inbox are known as long as it lives.
	//
	// While no other sender has a message in an inbox, one that is not its owner can
	// fill only a part of it: see [Limits.Share].
	//
	// Errors: ErrUnauthorized (sender), ErrNoInbox and ErrFull (recipient),
	// ErrServerFull. The sender is checked first, so that nobody without an
	// inbox learns which ids exist.
	Send(ctx context.Context, from Peer, to string, d Draft) (replayed bool, err error)

	// Look opens p's inbox if there is none, restarts its expiry, removes every
	// message up to and including after, and returns the oldest ones that
	// remain, at most limit (0 or more), WITHOUT removing them.
	//
	// If w is not nil it becomes the waker of the inbox's one receiver, in the
	// same step: Send wakes it from now on, at least once until it looks again,
	// and the waker it replaces is ended with ErrReplaced. A waker that has been
	// ended gets that error and changes nothing.
	//
	// Errors: ErrUnauthorized, ErrBadCursor (after was never given out; nothing
	// happens then), ErrServerFull, ErrReplaced, ErrClosed.
	Look(ctx context.Context, p Peer, after Cursor, limit int, w *Waker) (Batch, error)

	// Acknowledge opens p's inbox if there is none, restarts its expiry, removes
	// every message up to and including upTo, and returns the position, without
	// messages. It makes w nobody's waker: w, if not nil, says for which receiver
	// this happens, and if that was ended nothing does.
	//
	// Errors: as of Look.
	Acknowledge(ctx context.Context, p Peer, upTo Cursor, w *Waker) (Batch, error)

	// Take prepares a pop of the messages that a look has found, for an answer of one
	// write: a client may read all of it, and ask again, before the messages are
	// acknowledged. Until end is called, no Look finds a message, and those of b do not
	// count against the bounds of the inbox. If they were delivered, end acknowledges
	// them, whoever is the receiver by then, and restarts the expiry. Else looks find
	// them again. It wakes a receiver that has looked meanwhile.
	//
	// Take returns nil if nothing was taken: the store cannot do it, another pop is
	// under way, w was ended, or one of the messages is not there any more. The caller
	// then has to acknowledge before its client can have read the answer. Otherwise it
	// MUST call end, once and soon.
	Take(ctx context.Context, p Peer, b Batch, w *Waker) (end func(delivered bool))

	// Leave acknowledges, restarts the expiry and detaches w, which must not be
	// used at a store afterwards. It opens no inbox. If w is not the waker of
	// p's inbox, nothing happens.
	//
	// Errors: ErrUnauthorized, ErrBadCursor.
	Leave(ctx context.Context, p Peer, upTo Cursor, w *Waker) error

	// Close closes p's inbox, with whatever it holds, and ends its receiver
	// with ErrClosed. There need not be one. If life is not zero, Close spares an
	// inbox of another life ([Cursor.Life]): a late Close then ends nothing that
	// was opened after it.
	//
	// Errors: ErrUnauthorized.
	Close(ctx context.Context, p Peer, life uint64) error
}

// What a store, or a wait at one, can answer. Each is compared with errors.Is.
var (
	ErrUnauthorized = errors.New("the inbox has another password")
	ErrNoInbox      = errors.New("the recipient has no inbox")
	ErrFull         = errors.New("the recipient's inbox is full")
	ErrServerFull   = errors.New("the server holds as much as it may")
	ErrBadCursor    = errors.New("the cursor was never given out")
	ErrReplaced     = errors.New("a newer receiver waits at this inbox")
	ErrClosed       = errors.New("the inbox was closed")
	ErrDraining     = errors.New("the server is about to stop")
	ErrUnavailable  = errors.New("the store cannot be reached")
	ErrRateLimited  = errors.New("there were too many requests, or wrong passwords")

	// ErrShare is ErrFull for a sender that has filled its part of the inbox.
	ErrShare = fmt.Errorf("%w of this sender's messages", ErrFull)
)

// KeysRemembered is how many idempotency keys an inbox remembers.
const KeysRemembered = 1024

// KnownAddresses is how many addresses an inbox remembers as those of its owner.
const KnownAddresses = 4

// Limits are what a store holds at most. A zero field means its default.
type Limits struct {
	TTL      time.Duration // an inbox's life after its owner last asked; 60 s
	Messages int           // in one inbox; 100
	Bytes    int           // of bodies in one inbox; 1 MiB
	Inboxes  int           // in all; 1,000,000
	Memory   int64         // bytes of all messages, as the store counts them; 1 GiB

	// Share is the part of an inbox, in percent of its messages and of its bytes, that
	// one sender can fill while no other sender has a message in it; 100. Parts of a
	// message or a byte are rounded up, and the first message always has room. The
	// owner of an inbox can fill all of it.
	Share int

	// Guesses bounds the wrong secrets that all peers with a Client together can try at
	// one inbox; no bound. Beyond it they get ErrRateLimited whether their secret is
	// right or wrong, but for those at an address that has shown the right one in this
	// life of the inbox, and but for those that name a cursor of this life, which only
	// the owner was told. The inbox remembers the last [KnownAddresses] addresses.
	Guesses Guesses

	// Quota bounds what the peers of one client have in all; nothing does.
	Quota Quota
}

// A Quota bounds what all peers with the same Client have in a store. Its methods must be
// safe for concurrent use. They must not block: a store calls them under a lock.
type Quota interface {
	// Open is called before an inbox is opened for a peer with a Client. The inbox is not
	// opened if it fails. The account is what Keep counts it under.
	Open(client netip.Addr) (account uint64, err error)
	// Keep counts bytes that a store in memory keeps of an inbox that Open has allowed. It
	// reports false if there is no room for them; for a negative n, which gives bytes
	// back, there always is.
	Keep(account uint64, n int64) bool
}

// Guesses are how many wrong secrets can be tried: Burst at once, and then one every so
// often. The zero Guesses are no bound.
type Guesses struct {
	Every time.Duration
	Burst int
}

// Refilled returns when a bucket that would be full at a time is so after one more
// wrong secret, and whether there was room for that. Times count from anywhere.
func (g Guesses) Refilled(full, now time.Duration) (after time.Duration, ok bool) {
	most := g.Every * time.Duration(g.Burst)
	after = max(full, now) + g.Every
	return min(after, now+most), g.Every == 0 || after <= now+most
}

// Alone returns how many messages and bytes one sender has room for in the inbox of
// another, while nobody else has a message in it.
func (l Limits) Alone() (messages, bytes int) {
	part := func(of int) int { return of/100*l.Share + (of%100*l.Share+99)/100 }
	return part(l.Messages), part(l.Bytes)
}

// WithDefaults returns l with its zero fields set.
func (l Limits) WithDefaults() Limits {
	if l.TTL == 0 {
		l.TTL = time.Minute
	}
	if l.Messages == 0 {
		l.Messages = 100
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 20
	}
	if l.Inboxes == 0 {
		l.Inboxes = 1_000_000
	}
	if l.Memory == 0 {
		l.Memory = 1 << 30
	}
	if l.Share == 0 {
		l.Share = 100
	}
	return l
}

// strict refuses the second spellings of a cursor that base64 would allow.
var strict = base64.RawURLEncoding.Strict()

// String returns the cursor as it goes over the wire: "0" for the zero Cursor,
// else 22 characters that are safe in URLs and headers.
func (c Cursor) String() string {
	return string(c.Append(nil))
}

// Append appends what String returns.
func (c Cursor) Append(to []byte) []byte {
	if c == (Cursor{}) {
		return append(to, '0')
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], c.Life)
	binary.BigEndian.PutUint64(b[8:], c.Seq)
	return strict.AppendEncode(to, b[:])
}

// ParseCursor reads what String wrote. Anything else is ErrBadCursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "0" {
		return Cursor{}, nil
	}
	var b [18]byte // room for what 24 characters would decode to
	if len(s) != 22 {
		return Cursor{}, ErrBadCursor
	}
	if n, err := strict.Decode(b[:], []byte(s)); err != nil || n != 16 {
		return Cursor{}, ErrBadCursor
	}
	c := Cursor{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:16])}
	if c.Life == 0 {
		return Cursor{}, ErrBadCursor
	}
	return c, nil
}
