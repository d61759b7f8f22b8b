package limit

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"inbox/internal/clientaddr"
)

const (
	// ways is the number of rows that a key can occupy. With 8, a table that is half full
	// rarely forgets anything.
	ways = 8
	// stripes is the number of locks of a table. Each guards the sets whose index is
	// congruent to its own, and is held for a few nanoseconds.
	stripes = 64
	// wider is how many times as much an IPv6 /48 may do as one of its /64 networks.
	wider = 16
	// maxDebt bounds how many times its burst a bucket can owe. Events that are counted
	// only after they have happened can exceed the burst when many happen concurrently;
	// the debt makes sure that this gains nothing in the long run.
	maxDebt = 60
)

// A Table limits events per address with GCRA, the generic cell rate algorithm. For each
// kind of event, a row contains one time, at which the bucket will be full again. The
// table has a fixed size. When it is full, a new address replaces the row whose buckets
// are closest to full, since forgetting a full bucket changes nothing. A Table is safe
// for concurrent use. A nil Table limits nothing.
type Table struct {
	seed  maphash.Seed
	start time.Time
	kinds []bucket
	sets  int
	words int     // per row: its key, and a time for each kind
	rows  []int64 // sets of ways rows; a row with key 0 is free
	locks [stripes]struct {
		sync.Mutex
		_ [64 - 8]byte // one cache line per lock
	}
}

// A bucket is a Rate in nanoseconds. Both fields are 0 if there is no limit.
type bucket struct {
	each int64 // time to refill one event
	full int64 // time to refill from empty
}

// A Key identifies the buckets in which an event counts. It is valid for one Table only.
type Key struct {
	near uint64 // hash of the address
	wide uint64 // hash of its /48, or 0
}

// NewTable returns a table for the given number of addresses, rounded up to a multiple of
// 8. It limits events of kind i to rates[i].
func NewTable(addresses int, rates ...Rate) *Table {
	t := &Table{
		seed: maphash.MakeSeed(), start: time.Now(), kinds: make([]bucket, len(rates)),
		sets: max(1, (addresses+ways-1)/ways), words: 1 + len(rates),
	}
	for i, r := range rates {
		if !r.Off() {
			each := max(1, int64(float64(time.Second)/r.PerSecond))
			t.kinds[i] = bucket{each: each, full: each * int64(max(1, r.Burst))}
		}
	}
	t.rows = make([]int64, t.sets*ways*t.words)
	return t
}

// Bytes returns the memory that the table takes, in bytes.
func (t *Table) Bytes() int {
	if t == nil {
		return 0
	}
	return len(t.rows)*8 + stripes*64
}

// Key returns the key of a client: an IPv4 address or an IPv6 /64, whose /48 is counted
// too. All invalid addresses share one key.
func (t *Table) Key(a netip.Addr) Key { return t.KeyOf(a, "") }

// KeyOf returns the key of a client combined with a name. The table does not keep the
// name.
func (t *Table) KeyOf(a netip.Addr, name string) Key {
	if t == nil {
		return Key{}
	}
	networks, also := clientaddr.KeysOf(a), uint64(0)
	if name != "" {
		also = maphash.String(t.seed, name)
	}
	k := Key{near: t.hash(networks.Near, also)}
	if networks.Wide.IsValid() {
		k.wide = t.hash(networks.Wide, also)
	}
	return k
}

// hash returns a hash other than 0, which marks free rows.
func (t *Table) hash(network netip.Prefix, also uint64) uint64 {
	var b [16 + 1 + 8]byte
	a := network.Addr().As16()
	copy(b[:], a[:])
	b[16] = byte(network.Bits())
	binary.LittleEndian.PutUint64(b[17:], also)
	return max(1, maphash.Bytes(t.seed, b[:]))
}

// Take counts n events if there is room for them and returns 0. Otherwise it counts
// nothing and returns how long to wait until there is.
func (t *Table) Take(k Key, kind, n int) time.Duration {
	if t == nil || t.kinds[kind].each == 0 {
		return 0
	}
	now, b := t.now(), t.kinds[kind]
	if wait := t.take(k.near, kind, b, n, now); wait > 0 || k.wide == 0 {
		return wait
	}
	wait := t.take(k.wide, kind, b.wider(), n, now)
	if wait > 0 {
		t.add(k.near, kind, b, -n, now)
	}
	return wait
}

// Wait returns how long to wait until there is room for one event, or 0. It counts
// nothing.
func (t *Table) Wait(k Key, kind int) time.Duration {
	if t == nil || t.kinds[kind].each == 0 {
		return 0
	}
	now, b := t.now(), t.kinds[kind]
	wait := t.wait(k.near, kind, b, now)
	if k.wide != 0 {
		wait = max(wait, t.wait(k.wide, kind, b.wider(), now))
	}
	return wait
}

// IsFull reports whether no event counts against the key any more.
func (t *Table) IsFull(k Key, kind int) bool {
	if t == nil || t.kinds[kind].each == 0 {
		return true
	}
	now := t.now()
	full := func(key uint64) bool {
		set, lock := t.set(key)
		defer lock.Unlock()
		row := t.find(set, key)
		return row == nil || row[1+kind] <= now
	}
	return full(k.near) && (k.wide == 0 || full(k.wide))
}

// Add counts n events that have already happened, whether or not there was room. It
// returns how long the buckets will take to be full again. A negative n reverts events
// that Take or Add has counted.
func (t *Table) Add(k Key, kind, n int) time.Duration {
	if t == nil || t.kinds[kind].each == 0 {
		return 0
	}
	now, b := t.now(), t.kinds[kind]
	full := t.add(k.near, kind, b, n, now)
	if k.wide != 0 {
		full = max(full, t.add(k.wide, kind, b.wider(), n, now))
	}
	return full
}

// wider returns the bucket of a /48.
func (b bucket) wider() bucket {
	each := max(1, b.each/wider)
	return bucket{each: each, full: max(b.full, each)}
}

// now returns the time since the table was created, in nanoseconds.
func (t *Table) now() int64 { return int64(time.Since(t.start)) }

// set returns the rows that a key can occupy, and their lock, which it has acquired.
func (t *Table) set(key uint64) (rows []int64, lock *sync.Mutex) {
	i, _ := bits.Mul64(key, uint64(t.sets))
	lock = &t.locks[i%stripes].Mutex
	lock.Lock()
	size := uint64(ways * t.words)
	return t.rows[i*size : (i+1)*size], lock
}

// find returns the row of a key, or nil.
func (t *Table) find(set []int64, key uint64) []int64 {
	for ; len(set) > 0; set = set[t.words:] {
		if set[0] == int64(key) {
			return set[:t.words]
		}
	}
	return nil
}

// row returns the row of a key. If the key has no row, it replaces the row that will be
// full first.
func (t *Table) row(set []int64, key uint64) []int64 {
	if row := t.find(set, key); row != nil {
		return row
	}
	var oldest []int64
	least := int64(0)
	for ; len(set) > 0; set = set[t.words:] {
		last := int64(0) // latest of the row's times
		for _, at := range set[1:t.words] {
			last = max(last, at)
		}
		if oldest == nil || last < least {
			oldest, least = set[:t.words], last
		}
	}
	clear(oldest)
	oldest[0] = int64(key)
	return oldest
}

func (t *Table) take(key uint64, kind int, b bucket, n int, now int64) time.Duration {
	set, lock := t.set(key)
	defer lock.Unlock()
	at := now
	if row := t.find(set, key); row != nil {
		at = max(at, row[1+kind])
	}
	if at += b.each * int64(n); at > now+b.full {
		return time.Duration(at - now - b.full)
	}
	t.row(set, key)[1+kind] = at
	return 0
}

func (t *Table) wait(key uint64, kind int, b bucket, now int64) time.Duration {
	set, lock := t.set(key)
	defer lock.Unlock()
	row := t.find(set, key)
	if row == nil {
		return 0
	}
	return time.Duration(max(0, row[1+kind]+b.each-now-b.full))
}

func (t *Table) add(key uint64, kind int, b bucket, n int, now int64) time.Duration {
	set, lock := t.set(key)
	defer lock.Unlock()
	row := t.find(set, key)
	if row == nil {
		if n < 0 {
			return 0 // forgotten with its row
		}
		row = t.row(set, key)
	}
	row[1+kind] = max(0, min(max(row[1+kind], now)+b.each*int64(n), now+maxDebt*b.full))
	return time.Duration(row[1+kind] - now)
}
