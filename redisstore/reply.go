package redisstore

import (
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"github.com/redis/rueidis"

	"inbox"
)

// Result codes of the scripts, as numbered in common.lua.
const (
	codeOK = iota
	codeUnauthorized
	codeNoInbox
	codeFull
	codeBadCursor
	codeReplaced
	codeClosed
	codeReplayed
	codeLate
	codeRateLimited
	codeShare
	codeGone
	codeGap
	codeBehind
	codeTooMany
	codeRoomFull
)

var codeErrors = map[int64]error{
	codeUnauthorized: inbox.ErrUnauthorized,
	codeNoInbox:      inbox.ErrNoInbox,
	codeFull:         inbox.ErrFull,
	codeBadCursor:    inbox.ErrBadCursor,
	codeReplaced:     inbox.ErrReplaced,
	codeClosed:       inbox.ErrClosed,
	codeRateLimited:  inbox.ErrRateLimited,
	codeShare:        inbox.ErrShare,
	codeTooMany:      inbox.ErrTooManyRooms,
	codeRoomFull:     inbox.ErrRoomFull,
}

// A reply is a script's result: a code, followed by other fields.
type reply struct {
	code   int64
	fields []rueidis.RedisMessage
}

var errReply = errors.New("unexpected reply of a script in redis")

func parseReply(r rueidis.RedisResult) (reply, error) {
	m, err := r.ToMessage()
	if err != nil {
		return reply{}, err
	}
	if m.IsInt64() { // only a code
		code, err := m.AsInt64()
		return reply{code: code}, err
	}
	fields, err := m.ToArray()
	if err != nil || len(fields) == 0 {
		return reply{}, errReply
	}
	code, err := fields[0].AsInt64()
	return reply{code, fields}, err
}

func (r reply) err() error {
	if r.code == codeOK {
		return nil
	}
	if err, ok := codeErrors[r.code]; ok {
		return err
	}
	return errReply
}

// localReceiver returns the number of a receiver at this server that the caller has to
// wake or end, or 0.
func (r reply) localReceiver(field int) uint64 {
	if field >= len(r.fields) {
		return 0
	}
	s, err := r.fields[field].ToString()
	if err != nil || len(s) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(s))
}

// clock returns Redis's time in microseconds from a reply with codeLate, or 0.
func (r reply) clock() int64 {
	if len(r.fields) < 2 {
		return 0
	}
	now, _ := r.fields[1].AsInt64()
	return now
}

// batch parses the reply of receive.lua.
func (r reply) batch() (inbox.Batch, error) {
	if len(r.fields) != 7 {
		return inbox.Batch{}, errReply
	}
	life, err := r.fields[1].ToString()
	if err != nil || len(life) != 8 {
		return inbox.Batch{}, errReply
	}
	seq, err := r.fields[2].AsInt64()
	if err != nil {
		return inbox.Batch{}, errReply
	}
	reset, err := r.fields[3].AsInt64()
	if err != nil {
		return inbox.Batch{}, errReply
	}
	entries, err := r.fields[5].ToArray()
	if err != nil {
		return inbox.Batch{}, errReply
	}
	b := inbox.Batch{Cursor: inbox.Cursor{Life: binary.BigEndian.Uint64([]byte(life)), Seq: uint64(seq)}, Reset: reset == 1}
	if len(entries) > 0 {
		b.Messages = make([]inbox.Message, len(entries))
	}
	for i, e := range entries {
		s, err := e.ToString()
		if err != nil {
			return inbox.Batch{}, errReply
		}
		m := &b.Messages[i]
		if *m, err = parseEntry(s); err != nil {
			return inbox.Batch{}, err
		}
		m.Cursor = inbox.Cursor{Life: b.Cursor.Life, Seq: b.Cursor.Seq - uint64(len(entries)-1-i)}
	}
	return b, nil
}

// ages yields how long each acknowledged message was in Redis, if receive.lua was asked
// for it.
func (r reply) ages() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for rest := r.text(6); len(rest) >= 8; rest = rest[8:] {
			if !yield(time.Duration(binary.BigEndian.Uint64([]byte(rest[:8]))) * time.Microsecond) {
				return
			}
		}
	}
}

// text returns a field as a string, or "".
func (r reply) text(field int) string {
	if field >= len(r.fields) {
		return ""
	}
	s, _ := r.fields[field].ToString()
	return s
}

// parseEntry parses an entry that send.lua has appended: 8 bytes for the scripts, the
// time in microseconds, the length of the sender's id, the id, and the body.
func parseEntry(s string) (inbox.Message, error) {
	const head = 8 + 8 + 2
	if len(s) < head {
		return inbox.Message{}, errReply
	}
	h := []byte(s[:head])
	at, n := int64(binary.BigEndian.Uint64(h[8:])), int(binary.BigEndian.Uint16(h[16:]))
	if len(s) < head+n {
		return inbox.Message{}, errReply
	}
	return inbox.Message{From: s[head : head+n], Time: time.UnixMicro(at).UTC(), Body: []byte(s[head+n:])}, nil
}
