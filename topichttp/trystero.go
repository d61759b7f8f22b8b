package topichttp

import (
	"time"

	"inbox/internal/jsontext"
	"inbox/internal/socket"
)

// trysteroMessage handles a frame of Trystero's ws-relay.
func trysteroMessage(m *member, s *socket.Socket, now time.Time, text []byte) error {
	var kind, topic, payload []byte
	object := jsontext.Object(text, func(name, value []byte) { // of duplicate names, the last counts
		switch {
		case jsontext.Is(name, "type"):
			kind = value
		case jsontext.Is(name, "topic"):
			topic = value
		case jsontext.Is(name, "payload"):
			payload = value
		}
	})
	switch {
	case !object || !jsontext.IsString(topic):
	case jsontext.Is(kind, "publish") && payload != nil:
		const begin, middle = `{"topic":`, `,"payload":`
		b := make([]byte, 0, len(begin)+len(topic)+len(middle)+len(payload)+1)
		b = append(append(append(append(b, begin...), topic...), middle...), payload...)
		return m.publish(s, now, jsontext.String(topic), append(b, '}'))
	case jsontext.Is(kind, "subscribe"):
		m.subscribe(jsontext.String(topic))
	case jsontext.Is(kind, "unsubscribe"):
		m.unsubscribe(jsontext.String(topic))
	}
	return m.odd(s)
}
