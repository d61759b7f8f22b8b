package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
)

// Section 10: messages of one sender to one recipient arrive in the order in which their
// sends completed.
var orderCases = []deliveryCase{
	{name: "order of messages sent before", run: func(d *delivery) {
		c := d.begin("alice")
		d.send("bob", "alice", numbered(100)...)
		d.expect(c, numbered(100)...)
	}},
	{name: "order of messages sent while it waits", run: func(d *delivery) {
		c := d.begin("alice")
		for i := range 10 {
			l := d.listen("alice", c)
			d.send("bob", "alice", fmt.Sprint(2*i), fmt.Sprint(2*i+1))
			d.expect(l, fmt.Sprint(2*i))
			d.expect(c, fmt.Sprint(2*i+1))
			if d.wire.parked && i == 1 {
				return
			}
		}
	}},
	{name: "order per sender", run: func(d *delivery) {
		const senders, each = 5, 15
		c := d.begin("alice")
		var ledger inboxtest.Ledger
		var all sync.WaitGroup
		for i := range senders {
			all.Go(func() {
				from := fmt.Sprint("sender-", i)
				for _, body := range numbered(each) {
					ledger.Sent(from, "alice", body)
					if a, err := d.try(d.Context(), sending(from, "alice", body)); err != nil || a.status != http.StatusOK {
						d.Errorf("a send failed: %d %v", a.status, err)
					}
				}
			})
		}
		for range senders * each {
			e := d.take(c)
			ledger.Arrived(e.from, "alice", e.body)
		}
		all.Wait()
		ledger.Check(d)
	}},
	{name: "bytes, sender and time", run: func(d *delivery) {
		c := d.begin("alice")
		for _, body := range []string{"", "x", "\x00\xff\xfe", "名前\r\n\u2028", `{"a":"\"</script>"}`, strings.Repeat("\xf0", 64<<10)} {
			before := time.Now()
			d.send("bøb b", "alice", body)
			after := time.Now()
			e := d.expect(c, body)
			at, err := time.Parse(time.RFC3339Nano, e.time)
			if err != nil || e.from != "bøb b" || at.Before(before.Round(0)) || at.After(after.Round(0)) {
				d.Fatalf("from %q at %s (%v), sent between %v and %v", e.from, e.time, err, before, after)
			}
		}
	}},
	{name: "immediately", only: waits, run: func(d *delivery) {
		c := d.begin("alice")
		l := d.listen("alice", c)
		begin := time.Now()
		d.send("bob", "alice", "hello")
		d.expect(l, "hello")
		if took := time.Since(begin); d.bubble && took > 0 {
			d.Errorf("it took %v", took)
		}
	}},
}

// An accepted message arrives whatever happens to the connection.
var lossCases = []deliveryCase{
	{name: "sent while nobody receives", run: func(d *delivery) {
		d.open("alice")
		d.send("bob", "alice", "one", "two")
		d.expect(d.connect(d.server, "alice", "0"), "one", "two")
	}},
	{name: "left while waiting", run: func(d *delivery) {
		position := d.get("alice", "?limit=0").cursor()
		for i := range 5 {
			d.left(d.listen("alice", d.connect(d.server, "alice", position)))
			body := fmt.Sprint("after leaving, ", i)
			d.send("bob", "alice", body)
			c := d.connect(d.server, "alice", position)
			position = d.expect(c, body).cursor
			d.popped("alice")
			c.leave()
		}
	}},
	{name: "pop removes", only: pops, run: func(d *delivery) {
		c := d.begin("alice")
		d.send("bob", "alice", numbered(6)...)
		d.expect(c, numbered(6)[:3]...)
		d.expect(c, numbered(6)[3:]...)
		d.popped("alice")
		c.leave()
		d.send("bob", "alice", "the next")
		d.expect(d.connect(d.server, "alice", ""), "the next")
	}},
	{name: "resumed after the last message", only: acknowledges, run: func(d *delivery) {
		c := d.begin("alice")
		d.send("bob", "alice", numbered(20)...)
		last := d.expect(c, numbered(20)[:13]...)
		c.leave()
		d.expect(d.connect(d.server, "alice", last.cursor), numbered(20)[13:]...)
	}},
	{name: "repeated unless acknowledged", only: acknowledges, run: func(d *delivery) {
		d.open("alice")
		d.send("bob", "alice", numbered(9)...)
		for range 3 {
			c := d.connect(d.server, "alice", "0")
			d.expect(c, numbered(9)[:4]...)
			c.leave()
		}
		last := d.expect(d.connect(d.server, "alice", "0"), numbered(9)...)
		d.send("bob", "alice", "more")
		d.expect(d.connect(d.server, "alice", last.cursor), "more")
	}},
	{name: "a repeated send arrives once", run: func(d *delivery) {
		c := d.begin("alice")
		for range 3 {
			d.sendKey("bob", "alice", "k", "offer")
		}
		d.send("bob", "alice", "the next")
		d.expect(c, "offer", "the next")
		d.sendKey("bob", "alice", "k", "offer")
		d.send("bob", "alice", "the last")
		d.expect(c, "the last")
	}},
	{name: "room after a full inbox", limits: inbox.Limits{Messages: 3}, run: func(d *delivery) {
		c := d.begin("alice")
		d.send("bob", "alice", "1", "2", "3")
		d.post("bob", "alice", "4").wantProblem("inbox-full")
		last := d.expect(c, "1", "2", "3")
		if d.acknowledges {
			d.get("alice", "?limit=0&after="+last.cursor)
		}
		d.popped("alice")
		d.send("bob", "alice", "4")
		d.expect(c, "4")
	}},
}

// When a connection ends, its client gets the reason, and the connection has taken nothing.
var endCases = []deliveryCase{
	{name: "replaced", only: waits, run: func(d *delivery) {
		older := d.listen("alice", d.begin("alice"))
		newer := d.listen("alice", d.connect(d.server, "alice", "0"))
		d.expectEnd(older, "replaced")
		d.send("bob", "alice", "for the newer")
		d.expect(newer, "for the newer")
	}},
	{name: "replaced while a message arrives", only: waits, run: func(d *delivery) {
		// Either receiver may get the message, but the last message goes to the newest.
		newest := d.listen("alice", d.begin("alice"))
		for i := range 10 {
			body := fmt.Sprint("message ", i)
			sends := d.start(sending("bob", "alice", body))
			older := newest
			newest = d.listen("alice", d.connect(d.server, "alice", "0"))
			sends.answer().want(http.StatusOK)
			a, b := d.take(older), event{}
			if a.code == "replaced" || d.acknowledges {
				b = d.take(newest)
			}
			if a.body != body && b.body != body {
				d.Fatalf("the older got %s %q, the newer %s %q", a.code, a.body, b.code, b.body)
			}
			d.get("alice", "?limit=0&after="+max(a.cursor, b.cursor)) // whichever is newer
			newest.leave()
			newest = d.listen("alice", d.connect(d.server, "alice", max(a.cursor, b.cursor)))
			if d.wire.parked && i == 2 {
				return
			}
		}
	}},
	{name: "closed", only: waits, run: func(d *delivery) {
		l := d.listen("alice", d.begin("alice"))
		d.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		d.expectEnd(l, "closed")
		d.post("bob", "alice", "x").wantProblem("no-such-inbox")
	}},
	{name: "draining", run: func(d *delivery) {
		l := d.listen("alice", d.begin("alice"))
		if d.waits {
			d.drain()
			d.expectEnd(l, "draining")
		} else {
			d.send("bob", "alice", "before")
			d.expect(l, "before")
			d.drain()
		}
		d.expectEnd(d.connect(d.server, "alice", "0"), "draining")
		d.send("bob", "alice", "for the next server")
	}},
	{name: "another password", run: func(d *delivery) {
		l := d.listen("alice", d.begin("alice"))
		for _, r := range []request{{}, {query: "?after=0"}, {method: http.MethodDelete}} {
			r.id, r.password = "alice", "guessed"
			d.do(r).wantProblem("unauthorized")
		}
		d.send("bob", "alice", "for alice")
		d.expect(l, "for alice")
	}},
}

// An inbox lives while its owner receives and for one TTL after that.
var lifeCases = []deliveryCase{
	{name: "alive while connected", lives: true, run: func(d *delivery) {
		l := d.listen("alice", d.begin("alice"))
		d.pass(d.ttl + d.ttl/2)
		d.send("bob", "alice", "after a life and a half")
		d.expect(l, "after a life and a half")
	}},
	{name: "expires after it was left", lives: true, run: func(d *delivery) {
		d.left(d.listen("alice", d.begin("alice")))
		if took := d.untilGone("alice"); d.bubble && (took < d.ttl-time.Second || took > d.ttl+time.Second) {
			d.Errorf("expired after %v", took)
		}
	}},
	{name: "reset after it expired", only: acknowledges, lives: true, run: func(d *delivery) {
		c := d.begin("alice")
		d.send("bob", "alice", "one")
		old := d.expect(c, "one").cursor
		c.leave()
		d.untilGone("alice")
		d.open("alice")
		d.send("bob", "alice", "of the next life")
		again := d.connect(d.server, "alice", old)
		d.expectEnd(again, "reset") // and the stream continues
		d.expect(again, "of the next life")
	}},
}
