package inboxhttp

import (
	"errors"
	"strconv"

	"inbox"
	"inbox/internal/jsontext"
)

// request is one text frame from the client, decoded.
type request struct {
	kind, id, password, after, to, key, room string
	body                                     []byte
	hasAfter, hasBody, hasBody64             bool
}

var (
	errNotObject = errors.New("a message must be a JSON object")
	errNotString = errors.New("known members of a message must be strings")
)

// parse decodes a frame and retains none of its bytes. If a name is repeated, the last
// member wins. Unknown members are ignored, since a later version may define them.
func (q *request) parse(frame []byte) error {
	var kind, id, password, after, to, key, room, body, body64 []byte
	object := jsontext.Object(frame, func(name, value []byte) {
		switch {
		case jsontext.Is(name, "type"):
			kind = value
		case jsontext.Is(name, "id"):
			id = value
		case jsontext.Is(name, "password"):
			password = value
		case jsontext.Is(name, "after"):
			after = value
		case jsontext.Is(name, "to"):
			to = value
		case jsontext.Is(name, "key"):
			key = value
		case jsontext.Is(name, "room"):
			room = value
		case jsontext.Is(name, "body"):
			body = value
		case jsontext.Is(name, "body64"):
			body64 = value
		}
	})
	if !object {
		return errNotObject
	}
	for _, value := range [...][]byte{kind, id, password, after, to, key, room, body, body64} {
		if value != nil && !jsontext.IsString(value) {
			return errNotString
		}
	}
	q.kind, q.id, q.password, q.after = text(kind), text(id), text(password), text(after)
	q.to, q.key, q.room = text(to), text(key), text(room)
	q.hasAfter, q.hasBody, q.hasBody64 = after != nil, body != nil, body64 != nil
	switch {
	case q.hasBody:
		q.body = jsontext.AppendText(make([]byte, 0, len(body)), body)
	case q.hasBody64:
		q.body = jsontext.AppendText(make([]byte, 0, len(body64)), body64)
	}
	return nil
}

// text returns the decoded string of a member, or "" if it is absent.
func text(value []byte) string {
	if value == nil {
		return ""
	}
	return jsontext.String(value)
}

// appendOpened appends the opened frame: the position in the inbox and maxBody. A client
// needs maxBody because the server closes a socket on which a larger message arrives.
func appendOpened(to []byte, b inbox.Batch, maxBody int) []byte {
	to = append(to, `{"type":"opened","cursor":"`...)
	to = b.Start().Append(to)
	to = append(to, `","maxBody":`...)
	to = strconv.AppendInt(to, int64(maxBody), 10)
	if b.Reset {
		to = append(to, `,"reset":true`...)
	}
	return append(to, '}')
}

// appendSent appends the answer to a send: a sent frame, or an error frame for err.
func appendSent(to []byte, q *request, err error) []byte {
	switch err {
	case nil:
		to = append(to, `{"type":"sent"`...)
	case errReplayed:
		to = append(to, `{"type":"sent","replayed":true`...)
	default:
		to = appendError(to, err)
	}
	if q.key != "" {
		to = append(to, `,"key":`...)
		to = jsontext.AppendString(to, q.key)
	}
	return append(to, '}')
}
