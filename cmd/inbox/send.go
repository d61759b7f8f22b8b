package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"inbox"
	inboxclient "inbox/client"
)

// sendCommand implements "inbox send".
type sendCommand struct {
	peerFlags
	To      string        `required:"" env:"-" placeholder:"ID" group:"The message" help:"Id of the recipient."`
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
	if err := inbox.CheckID(c.To); err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
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
	return plain(peer.SendDraft(ctx, c.To, inbox.Draft{Key: c.Key, Body: body}))
}
