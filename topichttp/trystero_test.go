package topichttp_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"inbox/topichttp"
)

// A payload reaches every subscriber, the publisher included, unchanged.
func TestTrystero(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		a, b := s.connect("/trystero"), s.connect("/trystero")
		a.Say(`{"type":"subscribe","topic":"r\u00f6om"}`)
		b.Say(`{"type":"subscribe","topic":"röom"}`)
		synctest.Wait()
		for _, payload := range []string{`{"peerId":"a","offer":"\u0000"}`, `"text"`, `[1,{}]`, `null`, `1e5`, `""`} {
			a.Say(`{"type":"publish","topic":"röom","payload": ` + payload + `, "other":1}`)
			a.Want(`{"topic":"röom","payload":` + payload + `}`)
			b.Want(`{"topic":"röom","payload":` + payload + `}`)
		}
		b.Say(`{"type":"unsubscribe","topic":"röom"}`)
		synctest.Wait()
		a.Say(`{"type":"publish","topic":"röom","payload":1}`)
		a.Want(`{"topic":"röom","payload":1}`)
		synctest.Wait()
		if len(b.Frames) > 0 {
			t.Errorf("after unsubscribing, the client got %q", b.Hear())
		}
	})
}

// Invalid frames are ignored and end no connection.
func TestTrysteroIgnoresNonsense(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		a, b := s.connect("/trystero"), s.connect("/trystero")
		a.Say(`{"type":"subscribe","topic":"room"}`)
		synctest.Wait()
		for _, frame := range []string{
			"", "x", "null", "[]", "{}", `{"type":"publish"}`, `{"type":"publish","topic":"room"}`, `{"type":"publish","topic":1,"payload":1}`,
			`{"type":"publish","topic":"room","payload":}`, `{"type":"publish","topic":"room","payload":1`, `{"type":"subscribe"}`,
			`{"type":"subscribe","topic":""}`, `{"type":"subscribe","topic":["room"]}`, `{"type":"unsubscribe","topic":"never"}`,
			`{"type":"ping"}`, `{"type":"subscribe","topic":"` + strings.Repeat("x", 5000) + `"}`,
		} {
			b.Say(frame)
		}
		synctest.Wait()
		b.Say(`{"type":"publish","topic":"room","payload":"last"}`)
		a.Want(`{"topic":"room","payload":"last"}`)
		if len(b.Frames) > 0 {
			t.Errorf("the other client got %q", b.Hear())
		}
	})
}
