// Package redisstore keeps inboxes in Redis or Valkey, so that any number of
// servers share them.
//
// An operation is one script that touches one inbox, so that it is atomic and
// stays in one slot of a cluster; a send is two, for the sender's inbox and for
// the recipient's. Every script can be run again when nobody knows whether it
// ran: what it did is known to it then. The time is that of Redis.
package redisstore

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/redislink"
)

// Config says where the inboxes are. Zero fields mean the documented default,
// where there is one.
type Config struct {
	// URL is redis:// or rediss:// (TLS), with user and password if needed; see
	// [ParseURL] for Sentinel and Cluster.
	URL string
	// Password is that of Redis, in place of one in the URL; none. It is taken as it
	// is: nothing is percent-encoded.
	Password string
	// RootCAs are what certificates of rediss:// are checked against; the system's.
	RootCAs *x509.CertPool
	// ClientCertificate is asked at every handshake for what to show to a Redis
	// that wants a certificate; none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Prefix begins every key and channel; "inbox:".
	Prefix string
	// Key is that of the servers' common [inbox.Pepper]: with another, the
	// same ids are other inboxes.
	Key [inbox.PepperSize]byte
	// Limits are what an inbox holds; Inboxes and Memory are left to the
	// maxmemory of Redis.
	Limits inbox.Limits
	// WaitReplicas is how many replicas have a message before its send is
	// answered; 0.
	WaitReplicas int
	Log          *slog.Logger // of what happens to the connection; none
	// Delivery counts how long each message was in Redis until its owner acknowledged
	// it through this server; not counted. RoundTrips counts how long Redis took to run
	// a script; not counted.
	Delivery, RoundTrips *meter.Histogram
}

// Store is an [inbox.Store] in Redis. Make one with [Open], and [Store.Run] it.
type Store struct {
	*link
	prefix  string
	limits  inbox.Limits
	alone   struct{ messages, bytes int } // see [inbox.Limits.Alone]
	guesses struct{ every, burst string } // see [inbox.Limits.Guesses]; for a script
}

var _ inbox.Store = (*Store)(nil)

func newStore(l *link, prefix string, limits inbox.Limits) *Store {
	s := &Store{link: l, prefix: prefix, limits: limits.WithDefaults()}
	s.alone.messages, s.alone.bytes = s.limits.Alone()
	s.guesses.every = strconv.FormatInt(s.limits.Guesses.Every.Microseconds(), 10)
	s.guesses.burst = strconv.Itoa(s.limits.Guesses.Burst)
	return s
}

// operationTimeout is what an operation takes at most, with everything that is
// tried again in it: then a client is told that the store is unavailable.
const operationTimeout = 2500 * time.Millisecond

// Send implements [inbox.Store]. It takes two round trips, and with
// Config.WaitReplicas a third.
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
		args[13], args[14] = args[5], args[6] // the owner has all of it
	}
	reply, err := s.run(ctx, &sendScript, recipient, args, func() { args[1] = "1" })
	if err != nil {
		return false, err
	}
	switch reply.code {
	case codeReplayed:
		return true, nil
	case codeOK:
		s.receivers.wake(reply.told(1))
		return false, nil
	}
	return false, reply.err()
}

// open authenticates p, whose inbox is made if there is none. It takes another round trip
// to make one that counts against a quota.
func (s *Store) open(ctx context.Context, at place, p inbox.Peer) error {
	opens := "1"
	if s.hasQuota(p) {
		opens = "0"
	}
	args := append(s.asks(p), token(), s.ttl(), opens, "")
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

// hasQuota reports whether the quota has a say in whether p may open an inbox.
func (s *Store) hasQuota(p inbox.Peer) bool { return s.limits.Quota != nil && p.Client != nil }

// mayOpen asks the quota.
func (s *Store) mayOpen(p inbox.Peer) (err error) {
	if s.hasQuota(p) {
		_, err = s.limits.Quota.Open(*p.Client)
	}
	return err
}

// Look implements [inbox.Store]. It takes one round trip, and another when it
// opens the inbox.
//
// For a receiver that is attached it answers with nothing new while Redis is
// away for a short time, so that those who wait go on waiting.
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

// Acknowledge implements [inbox.Store]. It takes one round trip, and another when
// it opens the inbox.
func (s *Store) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	at := s.place(p.ID)
	r := s.receivers.find(w, at.partition)
	// In this order: a receiver that ends is told so before it is forgotten.
	if w != nil && w.Err() != nil {
		return inbox.Batch{}, w.Err()
	}
	return s.batch(s.receive(ctx, acknowledge, at, p, upTo, 0, r))
}

// Take implements [inbox.Store]: no server can hide messages from the others without a
// round trip, which costs more than a second write.
func (s *Store) Take(context.Context, inbox.Peer, inbox.Batch, *inbox.Waker) (end func(delivered bool)) {
	return nil
}

// Leave implements [inbox.Store]. It takes one round trip.
func (s *Store) Leave(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	at := s.place(p.ID)
	r := s.receivers.find(w, at.partition)
	if r == nil {
		return nil // it never attached, or was ended
	}
	defer s.receivers.leave(r)
	p.Admitted = true // when it attached
	_, err := s.receive(ctx, leave, at, p, upTo, 0, r)
	if errors.Is(err, inbox.ErrReplaced) || errors.Is(err, inbox.ErrClosed) {
		return nil
	}
	return err
}

// What the script receive.lua is run for.
const (
	look        = "look"
	acknowledge = "acknowledge"
	leave       = "leave"
)

// receive runs the script for r, if it is not nil, and ends r if it was replaced or
// its inbox was closed.
func (s *Store) receive(ctx context.Context, what string, at place, p inbox.Peer, after inbox.Cursor, limit int, r *receiver) (reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	receiver, looked := "", ""
	if r != nil {
		receiver, looked = s.Server()+numberBytes(r.number), s.receivers.sinceLooked(r)
	}
	args := append(s.asks(p),
		lifeBytes(after.Life), strconv.FormatUint(min(after.Seq, biggest), 10), strconv.Itoa(limit), receiver, looked,
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
			err = w.Err() // it may have been ended before, for another reason
		}
	}
	if err != nil {
		return reply{}, err
	}
	s.receivers.end(found.told(4), inbox.ErrReplaced)
	for age := range found.ages() {
		s.delivery.Observe(age)
	}
	return found, nil
}

// measured asks the script receive.lua for the ages of messages, if anybody counts them.
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
func (s *Store) Close(ctx context.Context, p inbox.Peer, life uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	at := s.place(p.ID)
	args := append(s.asks(p), token(), s.ttl(), s.Server(), s.Channel(at.partition), lifeBytes(life), "")
	reply, err := s.run(ctx, &closeScript, at, args, nil)
	if err != nil {
		return err
	}
	if reply.code != codeOK {
		return reply.err()
	}
	s.receivers.end(reply.told(1), inbox.ErrClosed)
	return nil
}

func (s *Store) ttl() string { return strconv.FormatInt(s.limits.TTL.Microseconds(), 10) }

// asks are the arguments that say who asks, and how many wrong secrets can be tried.
func (s *Store) asks(p inbox.Peer) []string {
	const most = 16 // arguments of any script
	address := ""
	if p.Client != nil {
		address = s.addressTag(*p.Client)
		if p.Admitted {
			address += "+"
		}
	}
	return append(make([]string, 0, most), string(p.Secret[:]), address, s.guesses.every, s.guesses.burst)
}

// addressTag is a keyed hash of an address. Two addresses share one by chance, one in
// four thousand millions: such an address is only not slowed down by others.
func (s *Store) addressTag(client netip.Addr) string {
	h := s.addresses.Get().(*keyedHash)
	defer s.addresses.Put(h)
	h.mac.Reset()
	a := client.As16()
	h.buf = append(h.buf[:0], a[:]...)
	h.mac.Write(h.buf)
	return string(h.mac.Sum(h.buf[:0])[:4])
}

// place is where an inbox is: its keys, and the partition whose slot they share.
type place struct {
	keys      []string
	partition uint8
	tag       string // of the id, as a sender
}

// place names an inbox by a keyed hash of its id, so that nobody reads ids from
// the keys.
func (s *Store) place(id string) place {
	h := s.hashes.Get().(*keyedHash)
	defer s.hashes.Put(h)
	h.mac.Reset()
	h.buf = append(h.buf[:0], id...)
	h.mac.Write(h.buf)
	sum := h.mac.Sum(h.buf[:0])
	key := s.prefix + "{" + redislink.Tag(sum[16]) + "}" + base64.RawURLEncoding.EncodeToString(sum[:16])
	return place{[]string{key, key + ":m", key + ":k", key + ":r", key + ":w"}, sum[16], string(sum[17:25])}
}

// keyedHash is an HMAC that is keyed already.
type keyedHash struct {
	mac hash.Hash
	buf []byte
}

func newHashes(key [inbox.PepperSize]byte, purpose string) *sync.Pool {
	own := derive(key, purpose)
	return &sync.Pool{New: func() any { return &keyedHash{mac: hmac.New(sha256.New, own)} }}
}

// derive makes a key for one purpose of the servers' common key.
func derive(key [inbox.PepperSize]byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("redisstore: " + purpose))
	return mac.Sum(nil)
}

// token is 8 random bytes: the number of a life, or what a request is known by.
// It is never zero.
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
