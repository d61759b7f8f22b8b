package topichttp

import (
	"strconv"
	"time"

	"inbox"
	"inbox/internal/jsontext"
	"inbox/internal/socket"
)

var pong = []byte(`{"type":"pong"}`)

// yMessage handles a frame of y-webrtc.
func yMessage(m *member, s *socket.Socket, now time.Time, text []byte) error {
	var kind, topic, topics []byte
	object := jsontext.Object(text, func(name, value []byte) { // of duplicate names, the last counts
		switch {
		case jsontext.Is(name, "type"):
			kind = value
		case jsontext.Is(name, "topic"):
			topic = value
		case jsontext.Is(name, "topics"):
			topics = value
		}
	})
	switch {
	case !object:
	case jsontext.Is(kind, "publish") && jsontext.IsString(topic):
		return m.publish(s, now, jsontext.String(topic), yBody(text))
	case jsontext.Is(kind, "subscribe"):
		m.each(topics, m.subscribe)
	case jsontext.Is(kind, "unsubscribe"):
		m.each(topics, m.unsubscribe)
	case jsontext.Is(kind, "ping") && !s.Behind():
		if err := s.Send(func(to []byte) []byte { return append(to, pong...) }); err != nil {
			return err
		}
	}
	return m.odd(s)
}

// each calls do for the topics in a JSON array. It ignores those beyond twice the limit of a
// connection: a frame can contain 40,000 names, and each is compared with all topics of the
// connection.
func (m *member) each(topics []byte, do func(name string)) {
	n := 0
	jsontext.Array(topics, func(name []byte) {
		if n++; n <= 2*m.h.PerConnection && jsontext.IsString(name) {
			do(jsontext.String(name))
		}
	})
}

// yBody returns a publication in the form that servers exchange: the object without the
// member clients and without the closing brace, so that yWire can append.
func yBody(text []byte) []byte {
	b := make([]byte, 0, len(text)+len(`,"clients":`)+8)
	b = append(b, '{')
	jsontext.Object(text, func(name, value []byte) {
		if jsontext.Is(name, "clients") {
			return
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), value...)
	})
	return b
}

// yWire adds the number of clients, as y-webrtc's server does. Clients ignore it.
func yWire(p *inbox.Publication) []byte {
	const clients = `,"clients":`
	b := make([]byte, 0, len(p.Body)+len(clients)+8)
	b = append(append(b, p.Body...), clients...)
	return append(strconv.AppendInt(b, int64(p.Subscribers), 10), '}')
}
