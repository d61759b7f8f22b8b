package memtopics

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/topicstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTopics(t *testing.T) {
	topicstest.Run(t, func(t *testing.T, l inbox.TopicLimits) []inbox.Topics {
		topics := New(l)
		inboxtest.Run(t, topics.Run)
		return []inbox.Topics{topics}
	})
}

// A topic without subscribers is removed, and so is the memory that many topics took.
func TestTopicsForget(t *testing.T) {
	topics := New(inbox.TopicLimits{})
	var began, ended int
	topics.Began = func(string) { began++ }
	topics.Ended = func(string) { ended++ }
	l := new(topicstest.Listener)
	const many = 10_000
	for i := range many {
		if _, err := topics.Subscribe(fmt.Sprint(i), l); err != nil {
			t.Fatal(err)
		}
	}
	if st := topics.Stats(); st.Topics != many || st.Subscriptions != many || began != many || ended != 0 {
		t.Fatalf("%+v, %d began and %d ended", st, began, ended)
	}
	for i := range many {
		topics.Unsubscribe(fmt.Sprint(i), l)
	}
	if st := topics.Stats(); st.Topics != 0 || st.Subscriptions != 0 || ended != many {
		t.Fatalf("%+v, %d ended", st, ended)
	}
	for i := range topics.shards {
		if n := topics.shards[i].topics.Room(); n != 0 {
			t.Errorf("a shard keeps room for %d topics", n)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	topics := New(inbox.TopicLimits{})
	for range 20 {
		if _, err := topics.Subscribe("room", new(nobody)); err != nil {
			b.Fatal(err)
		}
	}
	body := make([]byte, 500)
	for b.Loop() {
		topics.Deliver("room", body)
	}
}

type nobody struct{ n int }

func (n *nobody) Deliver(*inbox.Publication) { n.n++ }
func (n *nobody) Missed()                    {}
