package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"inbox"
	inboxclient "inbox/client"
)

// sendCommand implements "inbox send".
type sendCommand struct {
	peerFlags
	To      string        `required:"" xor:"recipient" env:"-" placeholder:"ID" group:"The message" help:"Id of the recipient."`
	Code    string        `required:"" xor:"recipient" env:"-" placeholder:"CODE" group:"The message" help:"Code of the recipient, instead of the id: six letters that receive --code has printed. A code works once."`
	Wait    time.Duration `env:"-" placeholder:"DURATION" group:"The message" help:"How long to wait for a recipient without an inbox, as in 30s. By default, fail immediately."`
	Timeout time.Duration `default:"30s" env:"-" placeholder:"DURATION" group:"The message" help:"How long to retry while the server is unavailable or the recipient's inbox is full (${default})."`
	Key     string        `env:"-" placeholder:"KEY" group:"The message" help:"Idempotency key: messages sent again with the same key arrive once. Random by default."`
	File    string        `arg:"" optional:"" name:"FILE" default:"-" help:"File to send. By default, or with -, standard input."`
}

func (*sendCommand) Help() string {
	return `Sends a file as one message, unchanged. When the command exits with 0, the message is in the recipient's inbox.

  inbox send --id alice --password-file secret --to bob picture.png

With INBOX_ID and INBOX_PASSWORD set:

  echo hello | inbox send --to bob
  echo hello | inbox send --code "kxt rbm"

` + exitCodes
}

// maxMessage is larger than any server accepts.
const maxMessage = 1 << 30

// Run sends one message.
func (c *sendCommand) Run(ctx context.Context, s streams) error {
	switch {
	case c.Timeout <= 0:
		return usageError{fmt.Errorf("--timeout must be more than 0s")}
	case c.Wait < 0:
		return usageError{fmt.Errorf("--wait must not be negative")}
	case c.File == "-" && c.PasswordFile == "-":
		return usageError{fmt.Errorf("the password and the message cannot both come from standard input")}
	}
	if c.Code == "" {
		if err := inbox.CheckID(c.To); err != nil {
			return usageError{fmt.Errorf("--to: %w", err)}
		}
	} else if _, ok := inbox.ParseCode(c.Code); !ok {
		return usageError{errors.New("--code: a code has six letters, and none of I, J, L, O, Q, U and W")}
	}
	if c.Key != "" {
		if err := inbox.CheckKey(c.Key); err != nil {
			return usageError{fmt.Errorf("--key: %w", err)}
		}
	}
	report := &progress{limit: fmt.Sprint("for up to ", c.Timeout), wait: fmt.Sprint("for up to ", c.Wait)}
	peer, err := c.client(ctx, s, inboxclient.Config{RetryFor: c.Timeout, Wait: c.Wait}, report)
	if err != nil {
		return err
	}
	if c.File == "-" && isTerminal(os.Stdin) {
		s.note("type the message and end it with Ctrl-D")
	}
	body, err := readUpTo(ctx, c.File, maxMessage)
	if err != nil {
		return plain(err)
	}
	report.begin()
	defer report.end()
	to := c.To
	if c.Code != "" {
		if to, err = recipient(ctx, peer, c.Code); err != nil {
			return plain(err)
		}
	}
	err = plain(peer.SendDraft(ctx, to, inbox.Draft{Key: c.Key, Body: body}))
	if err != nil && c.Code != "" {
		return fmt.Errorf("%w (the code is used up: try again with --to %q)", err, to)
	}
	return err
}

// recipient returns the id to which a code leads.
func recipient(ctx context.Context, peer *inboxclient.Client, code string) (id string, err error) {
	i, err := peer.Redeem(ctx, code)
	if e, ok := errors.AsType[*inboxclient.Error](err); ok && e.RetryAfter > 0 {
		return "", fmt.Errorf("%w (try again in %v)", err, e.RetryAfter)
	}
	if err == nil && i.Room != "" {
		return "", errors.New("this code leads to a room: ask for one that leads to a person")
	}
	return i.Peer, err
}
