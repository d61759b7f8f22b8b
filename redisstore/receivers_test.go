package redisstore

import (
	"runtime"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redislink"
)

// A client that polls with a new receiver each time leaves nothing behind, although Redis
// may still name some of them.
func TestCollectedReceiversAreForgotten(t *testing.T) {
	rs := new(receivers)
	kept := inbox.NewWaker(func() {})
	r := rs.enter(kept, 3, time.Hour)
	rs.looked(r, inbox.Cursor{})
	for i := range 100_000 {
		rs.looked(rs.enter(inbox.NewWaker(func() {}), uint8(i), time.Hour), inbox.Cursor{})
	}
	left, room := 0, 0
	inboxtest.Until(t, "the others are forgotten", func() bool {
		runtime.GC()
		left, room = 0, 0
		for i := range rs.shards {
			sh := &rs.shards[i]
			sh.mu.Lock()
			if sh.byNumber.Len() != sh.byWaker.Len() {
				t.Errorf("%d numbers of %d wakers", sh.byNumber.Len(), sh.byWaker.Len())
			}
			left, room = left+sh.byNumber.Len(), room+sh.byNumber.Room()
			sh.mu.Unlock()
		}
		return left == 1
	})
	if room > redislink.Partitions*64 {
		t.Errorf("the maps still have room for %d receivers", room)
	}
	if rs.waker(r.number) != kept || rs.find(kept, 3) != r {
		t.Error("a receiver in use was forgotten")
	}
	runtime.KeepAlive(kept)
}
