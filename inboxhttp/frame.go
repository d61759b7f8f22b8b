package inboxhttp

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/mailru/easyjson/jlexer"

	"inbox"
)

// request is what a client says, in one text frame.
type request struct {
	kind, id, password, after, to, key string
	body                               []byte
	hasAfter, hasBody, hasBody64       bool
}

func (q *request) parse(message []byte) error {
	l := jlexer.Lexer{Data: message}
	// The lexer is fast, and lenient with numbers and control characters. Neither
	// stands in what our own clients send.
	strict := slices.ContainsFunc(message, func(c byte) bool { return c < ' ' })
	l.Delim('{')
	for l.Ok() && !l.IsDelim('}') {
		name := l.UnsafeFieldName(false)
		l.WantColon()
		switch name {
		case "type":
			q.kind = l.String()
		case "id":
			q.id = l.String()
		case "password":
			q.password = l.String()
		case "after":
			q.after, q.hasAfter = l.String(), true
		case "to":
			q.to = l.String()
		case "key":
			q.key = l.String()
		case "body":
			q.body, q.hasBody = append([]byte(nil), l.UnsafeBytes()...), true
		case "body64":
			q.body, q.hasBody64 = append([]byte(nil), l.UnsafeBytes()...), true
		default: // of a later version
			strict = true
			l.SkipRecursive()
		}
		l.WantComma()
	}
	l.Delim('}')
	l.Consumed()
	if err := l.Error(); err != nil {
		return err
	}
	if strict && !json.Valid(message) {
		return errors.New("not JSON")
	}
	return nil
}

func appendOpened(to []byte, b inbox.Batch) []byte {
	to = append(to, `{"type":"opened","cursor":"`...)
	to = b.Start().Append(to)
	to = append(to, '"')
	if b.Reset {
		to = append(to, `,"reset":true`...)
	}
	return append(to, '}')
}

// appendSent answers a send.
func appendSent(to []byte, q *request, err error) []byte {
	switch err {
	case nil:
		to = append(to, `{"type":"sent"`...)
	case errReplayed:
		to = append(to, `{"type":"sent","replayed":true`...)
	default:
		p := problemOf(err)
		to = append(to, `{"type":"error","code":"`+p.Code+`","status":`...)
		to = strconv.AppendInt(to, int64(p.Status), 10)
	}
	if q.key != "" {
		to = append(to, `,"key":`...)
		to = appendString(to, q.key)
	}
	return append(to, '}')
}
