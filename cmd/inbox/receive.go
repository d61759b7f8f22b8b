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

// receiveCommand implements "inbox receive".
type receiveCommand struct {
	peerFlags
	Code    bool          `env:"-" group:"Messages" help:"First print a code of six letters on standard error, for a person who sends with send --code. It works once, for ten minutes."`
	Follow  bool          `short:"f" env:"-" group:"Messages" help:"Keep receiving, and reconnect if the server is unavailable."`
	JSON    bool          `name:"json" env:"-" group:"Messages" help:"Print each message as a line of JSON with its cursor, from, time, and body, or body64 if it is not text."`
	After   string        `env:"-" placeholder:"CURSOR" group:"Messages" help:"Acknowledge the messages up to this cursor first."`
	Timeout time.Duration `env:"-" placeholder:"DURATION" group:"Messages" help:"Give up if no message arrives for this long, as in 30s. By default, wait forever."`
}

func (*receiveCommand) Help() string {
	return `Waits for a message, prints it, acknowledges it and exits. A message that cannot be printed is not acknowledged: the next receive gets it again.

Prints exactly what was sent. With --follow, messages that do not end with a line break run together: use --json to separate them. A missing line break is added only at a terminal.

  inbox receive --id bob --password-file secret > picture.png

With INBOX_ID and INBOX_PASSWORD set:

  inbox receive --follow --json | jq -r .body
  inbox receive | inbox send --to carol
  inbox receive --code > picture.png

` + exitCodes + `

With --follow, an interrupt ends it with 0. So does --timeout if at least one message arrived.`
}

// Run receives and prints messages.
func (c *receiveCommand) Run(ctx context.Context, s streams) (err error) {
	config := inboxclient.Config{PollOnly: !c.Follow} // one message is not worth a socket
	if c.After != "" {
		if config.After, err = inbox.ParseCursor(c.After); err != nil {
			return usageError{errors.New("--after is not a cursor")}
		}
	}
	if c.Timeout < 0 {
		return usageError{errors.New("--timeout must not be negative")}
	}
	report := &progress{limit: c.limit()}
	peer, err := c.client(ctx, s, config, report)
	if err != nil {
		return err
	}
	report.begin()
	defer report.end()
	defer peer.Leave()
	// If the reader of the output is gone, messages that were already printed are still
	// acknowledged.
	signal.Ignore(syscall.SIGPIPE)
	if c.Code {
		if err := c.invite(ctx, peer, s); err != nil {
			return plain(err)
		}
	}
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
			return errInterrupted // with --follow too: the message was not printed completely
		}
		if err != nil {
			return fmt.Errorf("cannot print a message, so it stays in the inbox: %w", err)
		}
		if !c.Follow {
			return plain(peer.Acknowledge(ctx))
		}
	}
}

// invite prints a code that leads to the inbox.
func (c *receiveCommand) invite(ctx context.Context, peer *inboxclient.Client, s streams) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	code, err := peer.Invite(ctx, "")
	if err == context.DeadlineExceeded {
		return errors.New("the server did not respond in time")
	}
	if err == nil {
		s.note(fmt.Sprintf("the code is %v: it works once, within %v", code, code.TTL))
	}
	return err
}

// limit describes how long the command retries without a server.
func (c *receiveCommand) limit() string {
	const retryFor = 30 * time.Second // as in the client
	switch {
	case c.Timeout > 0 && (c.Follow || c.Timeout < retryFor):
		return fmt.Sprint("for up to ", c.Timeout)
	case c.Follow:
		return "until interrupted"
	}
	return fmt.Sprint("for up to ", retryFor)
}

// next waits for a message. It only prints a remark about failures that pass.
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
		case retried && away.Ended == nil && c.Follow: // progress has reported it
		case err == context.DeadlineExceeded && peer.Transport() == "":
			return m, errors.New("the server did not respond in time")
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

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// encode returns the JSON form of a message that the server also uses.
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
