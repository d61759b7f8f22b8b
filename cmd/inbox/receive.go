package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"inbox"
	inboxclient "inbox/client"
)

// receiveCommand is "inbox receive".
type receiveCommand struct {
	peerFlags
	Follow  bool          `short:"f" env:"-" group:"Messages" help:"Go on receiving, with a line break after each message."`
	JSON    bool          `name:"json" env:"-" group:"Messages" help:"Print a line of JSON for each message: cursor, from, time, and body, or body64 if it is no text."`
	After   string        `env:"-" placeholder:"CURSOR" group:"Messages" help:"Acknowledge the messages up to this cursor first."`
	Timeout time.Duration `default:"0s" env:"-" placeholder:"DURATION" group:"Messages" help:"Give up when nothing has arrived for so long, as in 30s. 0s: never (${default})."`
}

func (*receiveCommand) Help() string {
	return `It waits for a message, prints it, acknowledges it and ends. What is printed is the message exactly as it was sent, without a line break after it. Where that is not enough to tell messages apart, use --json.

A message that could not be printed is not acknowledged: it is received again.

` + exitCodes + `

With --follow it ends when it is interrupted, which is not a failure, and goes on while the server is away.`
}

// Run prints messages.
func (c *receiveCommand) Run(ctx context.Context, s streams) (err error) {
	config := inboxclient.Config{PollOnly: !c.Follow} // one message is not worth a socket
	if c.After != "" {
		if config.After, err = inbox.ParseCursor(c.After); err != nil {
			return usageError{errors.New("--after is no cursor")}
		}
	}
	if c.Timeout < 0 {
		return usageError{errors.New("--timeout is not negative")}
	}
	peer, err := c.client(s, config)
	if err != nil {
		return err
	}
	defer peer.Leave()
	for n := 0; ; n++ {
		m, err := c.next(ctx, peer, s)
		switch {
		case err == nil:
		case c.Follow && errors.Is(err, context.Canceled), n > 0 && errors.Is(err, errNothing):
			return nil
		default:
			return plain(err)
		}
		if err := c.print(s.out, m); err != nil {
			return fmt.Errorf("the message cannot be printed: %w", err)
		}
		if !c.Follow {
			return plain(peer.Acknowledge(ctx))
		}
	}
}

// next waits for a message. What passes by itself it only notes.
func (c *receiveCommand) next(ctx context.Context, peer *inboxclient.Client, s streams) (inbox.Message, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	for {
		m, err := peer.Receive(ctx)
		away, retried := errors.AsType[*inboxclient.RetryError](err)
		switch {
		case errors.Is(err, inboxclient.ErrReset):
			s.note(err.Error())
		case retried && away.Ended == nil && c.Follow:
			s.note(away.Last.Error() + "; trying again")
		case err == context.DeadlineExceeded && peer.Transport() == "":
			return m, errors.New("the server did not answer in time")
		case err == context.DeadlineExceeded:
			return m, errNothing
		default:
			return m, err
		}
	}
}

func (c *receiveCommand) print(w io.Writer, m inbox.Message) error {
	out := m.Body
	if c.JSON {
		var err error
		if out, err = encode(m); err != nil {
			return err
		}
	}
	if c.JSON || c.Follow {
		out = append(slices.Clip(out), '\n')
	}
	_, err := w.Write(out)
	return err
}

// encode is the form of a message that the server itself gives.
func encode(m inbox.Message) ([]byte, error) {
	line := struct {
		Cursor string    `json:"cursor"`
		From   string    `json:"from"`
		Time   time.Time `json:"time"`
		Body   *string   `json:"body,omitempty"`
		Body64 []byte    `json:"body64,omitempty"`
	}{Cursor: m.Cursor.String(), From: m.From, Time: m.Time}
	if text := string(m.Body); utf8.ValidString(text) {
		line.Body = &text
	} else {
		line.Body64 = m.Body
	}
	return json.Marshal(line)
}
