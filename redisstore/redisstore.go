// Package redisstore implements [inbox.Store] in Redis or Valkey, so that any number of
// servers can share their inboxes.
//
// Each operation is a script that accesses a single inbox, so it is atomic and stays in
// one slot of a cluster. A send takes two, one for the sender's inbox and one for the
// recipient's. Scripts are idempotent: they can be retried when it is unknown whether an
// earlier attempt ran. All times are on Redis's clock. See docs/stores.md for the design.
package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/redislink"
)

// Config configures a store. Zero fields mean the documented default, if there is one.
type Config struct {
	// URL is redis:// or rediss:// (TLS), with user and password if needed; see
	// [redislink.ParseURL] for Sentinel and Cluster.
	URL string
	// Password is the password for Redis if the URL has none; default none. It is used
	// literally, without percent-encoding.
	Password string
	// RootCAs verify the certificates of rediss:// servers; default the system's.
	RootCAs *x509.CertPool
	// ClientCertificate returns, for each handshake, the certificate for a Redis that
	// requires one; default none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Prefix begins every key and channel; default "inbox:".
	Prefix string
	// Key is the key of the servers' common [inbox.Pepper]. Names of inboxes depend on
	// it, so all servers that share inboxes need the same key.
	Key [inbox.PepperSize]byte
	// Limits bound each inbox. Inboxes and Memory are ignored: the maxmemory of Redis
	// bounds them.
	Limits inbox.Limits
	// WaitReplicas is how many replicas must have a message before its send succeeds;
	// default 0.
	WaitReplicas int
	Log          *slog.Logger // events of the connection; default none
	// Delivery records the time from each message's arrival in Redis to its
	// acknowledgement through this server. RoundTrips records how long scripts take. Nil
	// records nothing.
	Delivery, RoundTrips *meter.Histogram
}

// Store is an [inbox.Store] in Redis. Create one with [Open] and start [Store.Run]. It is
// safe for concurrent use.
type Store struct {
	*link
	prefix  string
	limits  inbox.Limits
	alone   struct{ messages, bytes int } // see [inbox.Limits.Alone]
	guesses struct{ every, burst string } // see [inbox.Limits.Guesses]; formatted for scripts
}

var _ inbox.Store = (*Store)(nil)

func newStore(l *link, prefix string, limits inbox.Limits) *Store {
	s := &Store{link: l, prefix: prefix, limits: limits.WithDefaults()}
	s.alone.messages, s.alone.bytes = s.limits.Alone()
	s.guesses.every = strconv.FormatInt(s.limits.Guesses.Every.Microseconds(), 10)
	s.guesses.burst = strconv.Itoa(s.limits.Guesses.Burst)
	return s
}

// operationTimeout bounds an operation with all its retries. Then it fails with
// ErrUnavailable.
const operationTimeout = 2500 * time.Millisecond

// Send implements [inbox.Store]. It takes two round trips, or three with
// Config.WaitReplicas.
func (s *Store) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	sender := s.place(from.ID)
	if err := s.open(ctx, sender, from); err != nil {
		return false, err
	}
	content := make([]byte, 0, 2+len(from.ID)+len(d.Body))
	content = binary.BigEndian.AppendUint16(content, uint16(len(from.ID)))
	content = append(append(content, from.ID...), d.Body...)
	key := ""
	if d.Key != "" {
		sum := d.Digest(from.ID)
		key = string(sum[:])
	}
	recipient := s.place(to)
	args := []string{
		token(), "0", key, string(content),
		strconv.Itoa(len(d.Body)), strconv.Itoa(s.limits.Messages), strconv.Itoa(s.limits.Bytes), strconv.Itoa(inbox.KeysRemembered),
		token(), s.ttl(), s.Server(), s.Channel(recipient.partition),
		sender.tag, strconv.Itoa(s.alone.messages), strconv.Itoa(s.alone.bytes), "",
	}
	if from.ID == to {
		args[13], args[14] = args[5], args[6] // the owner may fill all of it
	}
	reply, err := s.run(ctx, &sendScript, recipient, args, func() { args[1] = "1" })
	if err != nil {
		return false, err
	}
	switch reply.code {
	case codeReplayed:
		return true, nil
	case codeOK:
		s.receivers.wake(reply.localReceiver(1))
		return false, nil
	}
	return false, reply.err()
}

// open authenticates p and opens its inbox if it does not exist. Opening an inbox that
// counts against a quota takes a second round trip.
func (s *Store) open(ctx context.Context, at place, p inbox.Peer) error {
	opens := "1"
	if s.hasQuota(p) {
		opens = "0"
	}
	args := append(s.credentialArgs(p), token(), s.ttl(), opens, "")
	reply, err := s.run(ctx, &openScript, at, args, nil)
	if err == nil && reply.code == codeNoInbox {
		if err = s.mayOpen(p); err == nil {
			args[len(args)-2] = "1"
			reply, err = s.run(ctx, &openScript, at, args, nil)
		}
	}
	if err != nil {
		return err
	}
	return reply.err()
}

// hasQuota reports whether the inboxes that p opens count against a quota.
func (s *Store) hasQuota(p inbox.Peer) bool { return s.limits.Quota != nil && p.Client != nil }

// mayOpen charges a new inbox of p to the quota, if there is one.
func (s *Store) mayOpen(p inbox.Peer) (err error) {
	if s.hasQuota(p) {
		_, err = s.limits.Quota.Open(*p.Client)
	}
	return err
}

// Look implements [inbox.Store]. It takes one round trip, and a second one if it opens
// the inbox.
//
// While Redis is unavailable for a short time, Look reports nothing new to an attached
// receiver, so that receivers keep waiting through an outage.
func (s *Store) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	at := s.place(p.ID)
	if w == nil {
		return s.batch(s.receive(ctx, look, at, p, after, limit, nil))
	}
	r := s.receivers.enter(w, at.partition, 2*s.limits.TTL)
	if r == nil || w.Err() != nil {
		return inbox.Batch{}, w.Err()
	}
	b, err := s.batch(s.receive(ctx, look, at, p, after, limit, r))
	switch {
	case err == nil:
		s.receivers.looked(r, b.Start())
	case errors.Is(err, inbox.ErrUnavailable):
		if position, ok := s.receivers.hold(r); ok {
			return inbox.Batch{Cursor: position, TTL: holdFor}, nil
		}
	}
	if err != nil {
		s.receivers.failed(r)
	}
	return b, err
}

// Acknowledge implements [inbox.Store]. It takes one round trip, and a second one if it
// opens the inbox.
func (s *Store) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	at := s.place(p.ID)
	r := s.receivers.find(w, at.partition)
	// Check w after find: a receiver that ends gets its reason before it is forgotten.
	if w != nil && w.Err() != nil {
		return inbox.Batch{}, w.Err()
	}
	return s.batch(s.receive(ctx, acknowledge, at, p, upTo, 0, r))
}

// Take implements [inbox.Store]. It always returns nil: hiding messages from other
// servers would take a round trip, which costs more than a second write.
func (s *Store) Take(context.Context, inbox.Peer, inbox.Batch, *inbox.Waker) (end func(delivered bool)) {
	return nil
}

// Leave implements [inbox.Store]. It takes one round trip.
func (s *Store) Leave(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	at := s.place(p.ID)
	r := s.receivers.find(w, at.partition)
	if r == nil {
		return nil // never attached, or already ended
	}
	defer s.receivers.leave(r)
	p.Admitted = true // it was admitted when it attached
	_, err := s.receive(ctx, leave, at, p, upTo, 0, r)
	if errors.Is(err, inbox.ErrReplaced) || errors.Is(err, inbox.ErrClosed) {
		return nil
	}
	return err
}

// Modes of the script receive.lua.
const (
	look        = "look"
	acknowledge = "acknowledge"
	leave       = "leave"
)

// receive runs receive.lua for the receiver r, which may be nil. It ends r if r was
// replaced or its inbox was closed.
func (s *Store) receive(ctx context.Context, what string, at place, p inbox.Peer, after inbox.Cursor, limit int, r *receiver) (reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	receiver, looked := "", ""
	if r != nil {
		receiver, looked = s.Server()+numberBytes(r.number), s.receivers.sinceLooked(r)
	}
	args := append(s.credentialArgs(p),
		lifeBytes(after.Life), strconv.FormatUint(min(after.Seq, maxInteger), 10), strconv.Itoa(limit), receiver, looked,
		token(), s.ttl(), s.Server(), s.Channel(at.partition), what, measured(s.delivery), "",
	)
	found, err := s.run(ctx, &receiveScript, at, args, nil)
	if err == nil && found.code == codeNoInbox {
		if err = s.mayOpen(p); err == nil {
			found, err = s.run(ctx, &openReceiveScript, at, args, nil)
		}
	}
	if err == nil {
		err = found.err()
	}
	if r != nil && (errors.Is(err, inbox.ErrReplaced) || errors.Is(err, inbox.ErrClosed)) {
		s.receivers.end(r.number, err)
		if w := r.waker.Value(); w != nil {
			err = w.Err() // it may have ended earlier, for another reason
		}
	}
	if err != nil {
		return reply{}, err
	}
	s.receivers.end(found.localReceiver(4), inbox.ErrReplaced)
	for age := range found.ages() {
		s.delivery.Observe(age)
	}
	return found, nil
}

// measured returns the argument that makes receive.lua return the ages of messages, if a
// histogram needs them.
func measured(delivery *meter.Histogram) string {
	if delivery == nil {
		return "0"
	}
	return "1"
}

func (s *Store) batch(found reply, err error) (inbox.Batch, error) {
	if err != nil {
		return inbox.Batch{}, err
	}
	b, err := found.batch()
	b.TTL = s.limits.TTL
	return b, err
}

// Close implements [inbox.Store].
func (s *Store) Close(ctx context.Context, p inbox.Peer, life uint64) (notified int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	at := s.place(p.ID)
	args := append(s.credentialArgs(p), token(), s.ttl(), s.Server(), s.Channel(at.partition), lifeBytes(life), "")
	reply, err := s.run(ctx, &closeScript, at, args, nil)
	if err != nil {
		return 0, err
	}
	if reply.code != codeOK {
		return 0, reply.err()
	}
	s.receivers.end(reply.localReceiver(1), inbox.ErrClosed)
	return s.leaveAll(ctx, reply), nil
}

func (s *Store) ttl() string { return strconv.FormatInt(s.limits.TTL.Microseconds(), 10) }

// credentialArgs returns the arguments that identify p and limit its wrong secrets.
func (s *Store) credentialArgs(p inbox.Peer) []string {
	const maxArgs = 16 // maximum number of arguments of a script
	address := ""
	if p.Client != nil {
		address = s.addressTag(*p.Client)
		if p.Admitted {
			address += "+"
		}
	}
	return append(make([]string, 0, maxArgs), string(p.Secret[:]), address, s.guesses.every, s.guesses.burst)
}

// addressTag returns a keyed hash of an address. Two addresses collide with a probability
// of one in four billion; a collision only exempts an address from the limit on guesses.
func (s *Store) addressTag(client netip.Addr) string {
	a := client.As16()
	sum := s.addresses.Of(string(a[:]))
	return string(sum[:4])
}

// A place locates an inbox: its keys, and the partition whose slot they share.
type place struct {
	keys      []string
	partition uint8
	tag       string // identifies the id as a sender
}

// place locates an inbox by a keyed hash of its id, so that keys do not reveal ids.
func (s *Store) place(id string) place {
	sum := s.ids.Of(id)
	key := s.prefix + "{" + redislink.Tag(sum[16]) + "}" + base64.RawURLEncoding.EncodeToString(sum[:16])
	return place{[]string{key, key + ":m", key + ":k", key + ":r", key + ":w", key + ":j"}, sum[16], string(sum[17:25])}
}

// token returns 8 random bytes, not all zero: the life of an inbox or the id of a
// request.
func token() string {
	var b [8]byte
	for b == [8]byte{} {
		rand.Read(b[:])
	}
	return string(b[:])
}

func lifeBytes(life uint64) string {
	if life == 0 {
		return ""
	}
	return numberBytes(life)
}

func numberBytes(n uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, n))
}
