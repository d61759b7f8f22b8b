// Package inbox defines the vocabulary of a temporary mailbox through which WebRTC peers
// find each other: peers, messages and cursors, and the [Store] interface that keeps
// them.
//
// A peer receives by looking at its own inbox and acknowledging what it has processed;
// anyone can send to an inbox that exists. An inbox expires soon after its owner stops
// looking. A [Session] drives this cycle for one receiver, and a [Waker] wakes it when a
// message arrives. Credentials become peers through an [Authenticator], usually a
// [Pepper].
//
// The package imports only the standard library. Stores (memstore, redisstore) and
// protocols (inboxhttp, peerjs) import it and do not know each other.
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

// A Peer is an authenticated participant: its id, and the secret derived from its
// password.
type Peer struct {
	ID     string // see [CheckID]; ids of protocols other than our own contain a colon
	Secret Secret
	// Client is the address that the credentials came from, or the first address of its
	// IPv6 /64. [Limits.Guesses] and [Limits.Quota] apply to it. Nil exempts the peer
	// from both.
	Client *netip.Addr
	// Admitted reports that a store has already accepted the secret. If the secret is
	// wrong by now, that does not count as a guess. Inboxes the peer opens still count
	// against its quota.
	Admitted bool
}

// A Draft is a message to be sent.
type Draft struct {
	// Body is opaque. A store keeps the slice, so the caller MUST NOT modify it after
	// Send.
	Body []byte
	// Key, if not empty, makes the send idempotent; see [Store.Send] and [CheckKey].
	Key string
}

// A Message stays in an inbox until it is acknowledged. It is immutable.
type Message struct {
	Cursor Cursor
	From   string    // the sender's id; empty for an [Event] from the server
	Time   time.Time // when the store accepted it, UTC
	Body   []byte    // read-only
}

// A Cursor is a position in one life of one inbox. The zero Cursor precedes every message
// of every life.
type Cursor struct {
	// Life is random and never zero. An inbox that is opened again after it expired or
	// was closed has a different Life.
	Life uint64
	// Seq numbers the messages of a life from 1. It only grows, and no number is used
	// twice.
	Seq uint64
}

// A Batch contains the oldest messages of an inbox, as returned by [Store.Look].
type Batch struct {
	// Messages stay in the inbox until they are acknowledged. The slice is a view: the
	// caller MUST NOT write to it.
	Messages []Message
	// Cursor is the cursor of the last message here. If Messages is empty, it is the
	// position up to which the inbox has been acknowledged. See also Start.
	Cursor Cursor
	// Reset reports that the caller's cursor belongs to an earlier life, so messages may
	// have been lost.
	Reset bool
	// TTL is how long the inbox lives from now unless its owner looks again.
	TTL time.Duration
	// Taken, if not nil, indicates that [Store.Take] is hiding messages. It is closed
	// when those messages have been removed or are visible again.
	Taken <-chan struct{}
}

// Start returns the position before the messages of b.
func (b Batch) Start() Cursor {
	return Cursor{b.Cursor.Life, b.Cursor.Seq - uint64(len(b.Messages))}
}

// First copies the oldest messages of a view whose bodies total at most most bytes, and
// at least one message. It returns the copy and the size of its bodies. Use it to keep a
// few messages for a while: retaining the view itself would keep all of its messages in
// memory, even after they have left the inbox.
func First(view []Message, most int) (messages []Message, size int) {
	n := 0
	for n < len(view) && (n == 0 || size+len(view[n].Body) <= most) {
		size += len(view[n].Body)
		n++
	}
	return slices.Clone(view[:n]), size
}

// A Store keeps inboxes. Package storetest specifies, as tests, what each method must do.
// Implementations MUST be safe for concurrent use, and no method waits for a message.
//
// Every method may fail with [ErrUnavailable]. The owner's methods Look, Acknowledge and
// Leave restart the expiry of the inbox; Send does not. For a peer with a Client, every
// method that can fail with ErrUnauthorized can also fail with ErrRateLimited; see
// [Limits.Guesses].
type Store interface {
	// Send opens the sender's inbox if it has none, appends the message to the inbox of
	// the peer named to, and wakes that inbox's receiver.
	//
	// With a key, a repeated send (same sender, recipient, key and body) appends nothing
	// and reports replayed, even if the inbox has become full since. An inbox remembers
	// its last [KeysRemembered] keys for as long as it lives.
	//
	// A sender other than the owner can fill only part of an inbox while it contains no
	// other sender's messages; see [Limits.Share].
	//
	// Errors: ErrUnauthorized (sender), ErrNoInbox and ErrFull (recipient),
	// ErrServerFull. The sender is checked first, so that a peer without an inbox cannot
	// probe which ids exist.
	Send(ctx context.Context, from Peer, to string, d Draft) (replayed bool, err error)

	// Look opens p's inbox if it does not exist, restarts its expiry, removes every
	// message up to and including after, and returns the oldest remaining messages
	// WITHOUT removing them. It returns at most limit messages; limit may be 0.
	//
	// If w is not nil, the same step makes it the waker of the inbox's only receiver.
	// From then on Send wakes it, at least once until it looks again. The waker it
	// replaces ends with ErrReplaced. If w itself has already ended, Look returns its
	// error and changes nothing.
	//
	// Errors: ErrUnauthorized, ErrBadCursor (after was never issued; nothing changes),
	// ErrServerFull, ErrReplaced, ErrClosed.
	Look(ctx context.Context, p Peer, after Cursor, limit int, w *Waker) (Batch, error)

	// Acknowledge opens p's inbox if it does not exist, restarts its expiry, removes
	// every message up to and including upTo, and returns the new position without
	// messages. It does not attach w. If w is not nil and has ended, Acknowledge returns
	// its error and changes nothing.
	//
	// Errors: as for Look.
	Acknowledge(ctx context.Context, p Peer, upTo Cursor, w *Waker) (Batch, error)

	// Take begins a pop of the messages in b, for an answer whose client could read all
	// of it and send its next request before the messages are acknowledged. Until the
	// caller calls end, looks find no messages, and the messages of b do not count
	// against the limits of the inbox. If the messages were delivered, end acknowledges
	// them, whichever receiver is attached by then, and restarts the expiry. Otherwise
	// looks find them again. In both cases end wakes a receiver that looked in the
	// meantime.
	//
	// Take returns nil if it took nothing: the store does not support it, another pop is
	// in progress, w has ended, or one of the messages is gone. The caller then has to
	// acknowledge the messages before its client can have read the whole answer. If end
	// is not nil, the caller MUST call it, exactly once and soon.
	Take(ctx context.Context, p Peer, b Batch, w *Waker) (end func(delivered bool))

	// Leave acknowledges up to upTo, restarts the expiry and detaches w, which must not
	// be used with a store afterwards. It opens no inbox. If w is not the waker of p's
	// inbox, Leave does nothing.
	//
	// Errors: ErrUnauthorized, ErrBadCursor.
	Leave(ctx context.Context, p Peer, upTo Cursor, w *Waker) error

	// Join makes p a member of a room for as long as its inbox lives, and opens its inbox
	// if it does not exist. It returns the ids of all members in the order in which they
	// joined. Join does not restart the expiry: a member stays in by receiving. For a peer
	// that is a member already, Join changes nothing.
	//
	// Every other member gets an [Event] in its inbox, as a message from the server. It
	// gets them all in order, even if its inbox is full: up to [MaxEvents] of them do not
	// count against the limits of the inbox. Each member also gets an event when a member
	// leaves or its inbox ends. An expiry is reported within half a TTL.
	//
	// Errors: ErrUnauthorized, ErrServerFull, ErrRoomFull, ErrTooManyRooms.
	Join(ctx context.Context, p Peer, room string) (members []string, err error)

	// LeaveRoom ends p's membership of a room. It returns how many members the room has
	// left, or 0 if p was not a member.
	//
	// Errors: ErrUnauthorized.
	LeaveRoom(ctx context.Context, p Peer, room string) (left int, err error)

	// Invite creates a code that leads to p or, if room is not empty, to a room. It opens
	// p's inbox if it does not exist. Anyone can redeem the code, once, within [CodeTTL].
	// Creating codes never ends those of others.
	//
	// Errors: ErrUnauthorized, ErrTooManyCodes, ErrServerFull.
	Invite(ctx context.Context, p Peer, room string) (code string, err error)

	// Redeem returns where a code leads, and ends it. See [ParseCode] for its form.
	//
	// Errors: ErrNoCode.
	Redeem(ctx context.Context, code string) (Invitation, error)

	// Close closes p's inbox, discards its messages and ends its receiver with ErrClosed.
	// It succeeds if the inbox does not exist. If life is not zero, Close spares an inbox
	// of another life ([Cursor.Life]), so a delayed Close cannot close an inbox that was
	// opened after it was sent. It returns the number of members of p's rooms that get an
	// event.
	//
	// Errors: ErrUnauthorized.
	Close(ctx context.Context, p Peer, life uint64) (notified int, err error)
}

// Errors returned by a [Store] or a [Session]. Compare them with errors.Is.
var (
	ErrUnauthorized = errors.New("wrong password for this inbox")
	ErrNoInbox      = errors.New("the recipient has no inbox")
	ErrFull         = errors.New("the recipient's inbox is full")
	ErrServerFull   = errors.New("the server is full")
	ErrBadCursor    = errors.New("the server never issued this cursor")
	ErrReplaced     = errors.New("a newer receiver has taken over this inbox")
	ErrClosed       = errors.New("the inbox was closed")
	ErrDraining     = errors.New("the server is about to stop")
	ErrUnavailable  = errors.New("the store cannot be reached")
	ErrRoomFull     = errors.New("the room is full")
	ErrTooManyRooms = errors.New("the peer is in too many rooms")
	ErrNoCode       = errors.New("no such code, or it was used or has expired")
	ErrTooManyCodes = errors.New("the client has created too many codes that were not used")
	ErrRateLimited  = errors.New("too many requests or wrong passwords")

	// ErrShare is the ErrFull of a sender that has filled its share of the inbox.
	ErrShare = fmt.Errorf("%w of this sender's messages", ErrFull)
)

// KeysRemembered is the number of idempotency keys an inbox remembers.
const KeysRemembered = 1024

// KnownAddresses is the number of its owner's addresses an inbox remembers.
const KnownAddresses = 4

// Limits bound what a store keeps. A zero field means its default.
type Limits struct {
	TTL      time.Duration // how long an inbox lives after its owner last looked; default 60 s
	Messages int           // per inbox; default 100
	Bytes    int           // of message bodies per inbox; default 1 MiB
	Inboxes  int           // in the store; default 1,000,000
	Memory   int64         // bytes in the store, as the store counts them; default 1 GiB

	RoomMembers int // per room; default 64
	Rooms       int // that one inbox can be in; default 16

	// Share is the percentage of an inbox's Messages and Bytes that one sender can fill
	// while no other sender has a message in it; default 100. Fractions are rounded up,
	// and the first message is always accepted. The owner of an inbox can fill all of it.
	Share int

	// Guesses bounds the wrong secrets that all peers with a Client can try at one inbox,
	// in total; default no bound. Beyond it, such peers get ErrRateLimited whether their
	// secret is right or wrong. Two kinds of peers are exempt: those at an address that
	// has presented the right secret during this life of the inbox, and those that
	// present a cursor of this life, which only the owner has seen. The inbox remembers
	// the last [KnownAddresses] addresses.
	Guesses Guesses

	// Quota bounds what the peers of one client have in total; default no bound.
	Quota Quota
}

// A Quota bounds what all peers with the same Client have in a store. Its methods must be
// safe for concurrent use. They must not block, because a store calls them with a lock
// held.
type Quota interface {
	// Open is called before an inbox is opened for a peer with a Client. If it fails, the
	// inbox is not opened. The account it returns identifies the client in calls of Keep.
	Open(client netip.Addr) (account uint64, err error)
	// Keep adds n bytes of an inbox that Open has allowed to the account. It reports
	// false if the account has no room for them. A negative n returns bytes and always
	// succeeds.
	Keep(account uint64, n int64) bool
}

// Guesses limit how many wrong secrets can be tried: Burst in a row, then one per Every.
// The zero Guesses set no limit.
type Guesses struct {
	Every time.Duration
	Burst int
}

// Refilled charges one wrong secret to a token bucket that will be full at the given
// time. It returns when the bucket will be full after that, and whether there was room
// for it. Times are relative to any common origin.
func (g Guesses) Refilled(full, now time.Duration) (after time.Duration, ok bool) {
	most := g.Every * time.Duration(g.Burst)
	after = max(full, now) + g.Every
	return min(after, now+most), g.Every == 0 || after <= now+most
}

// Alone returns how many messages and bytes one sender can have in another peer's inbox
// while no other sender has a message in it.
func (l Limits) Alone() (messages, bytes int) {
	part := func(of int) int { return of/100*l.Share + (of%100*l.Share+99)/100 }
	return part(l.Messages), part(l.Bytes)
}

// WithDefaults returns l with its zero fields set to their defaults.
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
	if l.RoomMembers == 0 {
		l.RoomMembers = 64
	}
	if l.Rooms == 0 {
		l.Rooms = 16
	}
	if l.Share == 0 {
		l.Share = 100
	}
	return l
}

// strict rejects the non-canonical encodings that base64 otherwise accepts, so that each
// cursor has exactly one text form.
var strict = base64.RawURLEncoding.Strict()

// String returns the wire form of the cursor: "0" for the zero Cursor, otherwise 22
// characters that are safe in URLs and headers.
func (c Cursor) String() string {
	return string(c.Append(nil))
}

// Append appends the String form of c to the slice.
func (c Cursor) Append(to []byte) []byte {
	if c == (Cursor{}) {
		return append(to, '0')
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], c.Life)
	binary.BigEndian.PutUint64(b[8:], c.Seq)
	return strict.AppendEncode(to, b[:])
}

// ParseCursor parses the String form of a cursor. Anything else is ErrBadCursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "0" {
		return Cursor{}, nil
	}
	var b [18]byte // room for 24 decoded characters
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
