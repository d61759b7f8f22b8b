package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"inbox"
	inboxclient "inbox/client"
)

// receiveCommand is "inbox receive".
type receiveCommand struct {
	peerFlags
	Follow  bool          `short:"f" env:"-" group:"Messages" help:"Go on with the next message, and while the server is away."`
	JSON    bool          `name:"json" env:"-" group:"Messages" help:"Print a line of JSON for each message, with its cursor, from, time, and body, or body64 if it is no text."`
	After   string        `env:"-" placeholder:"CURSOR" group:"Messages" help:"First acknowledge the messages up to this cursor."`
	Timeout time.Duration `env:"-" placeholder:"DURATION" group:"Messages" help:"Give up when nothing has arrived for so long, as in 30s. Never, if not given."`
}

func (*receiveCommand) Help() string {
	return `It waits for a message, prints it, acknowledges it and ends. A message that could not be printed is not acknowledged: it is received again.

What is printed is exactly what was sent. With --follow, messages that do not end with a line break stand on one line: --json tells them apart. Only at a terminal a line break is added.

  inbox receive --id bob --password-file secret > picture.png
  inbox receive --follow --json | jq -r .body       (with INBOX_ID and INBOX_PASSWORD set)
  inbox receive | inbox send --to carol

` + exitCodes + `

With --follow it ends when it is interrupted, and with --timeout when nothing comes any more after something did: with 0 then.`
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
	how := &progress{limit: c.limit()}
	peer, err := c.client(ctx, s, config, how)
	if err != nil {
		return err
	}
	how.begin()
	defer how.end()
	defer peer.Leave()
	// When nobody reads any more, what was printed before is still acknowledged.
	signal.Ignore(syscall.SIGPIPE)
	for n := 0; ; n++ {
		m, err := c.next(ctx, peer, s)
		switch {
		case err == nil:
		case c.Follow && errors.Is(err, context.Canceled), n > 0 && errors.Is(err, errNothing):
			return nil
		default:
			return plain(err)
		}
		_, err = unlessEnded(ctx, func() (int, error) { return c.print(s.out, m) })
		if errors.Is(err, context.Canceled) {
			return errInterrupted // also with --follow: not all of it was printed
		}
		if err != nil {
			return fmt.Errorf("a message cannot be printed, and stays in the inbox: %w", err)
		}
		if !c.Follow {
			return plain(peer.Acknowledge(ctx))
		}
	}
}

// limit says how long the command goes on without a server.
func (c *receiveCommand) limit() string {
	const retryFor = 30 * time.Second // the client's own default
	switch {
	case c.Timeout > 0 && (c.Follow || c.Timeout < retryFor):
		return fmt.Sprint("for up to ", c.Timeout)
	case c.Follow:
		return "until it is interrupted"
	}
	return fmt.Sprint("for up to ", retryFor)
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
		case retried && away.Ended == nil && c.Follow: // progress has told
		case err == context.DeadlineExceeded && peer.Transport() == "":
			return m, errors.New("the server did not answer in time")
		case err == context.DeadlineExceeded:
			return m, errNothing
		default:
			return m, err
		}
	}
}

func (c *receiveCommand) print(w io.Writer, m inbox.Message) (n int, err error) {
	out := m.Body
	if c.JSON {
		if out, err = encode(m); err != nil {
			return 0, err
		}
	}
	if c.JSON || isTerminal(w) && !bytes.HasSuffix(out, []byte("\n")) {
		out = append(slices.Clip(out), '\n')
	}
	return w.Write(out)
}

// isTerminal reports whether a person reads there, and not a program.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
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
