package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"inbox"
	inboxclient "inbox/client"
)

// sendCommand is "inbox send".
type sendCommand struct {
	peerFlags
	To      string        `required:"" env:"-" placeholder:"ID" group:"The message" help:"Whom it is for."`
	Wait    time.Duration `env:"-" placeholder:"DURATION" group:"The message" help:"How long to wait for a recipient that has no inbox yet, as in 30s. Not at all, if not given."`
	Timeout time.Duration `default:"30s" env:"-" placeholder:"DURATION" group:"The message" help:"How long to try again when the server is away or the recipient's inbox is full (${default})."`
	Key     string        `env:"-" placeholder:"KEY" group:"The message" help:"A message that is sent again with the same key arrives once. Random, if not given."`
	File    string        `arg:"" optional:"" name:"FILE" default:"-" help:"What to send. Standard input, if it is - or not given."`
}

func (*sendCommand) Help() string {
	return `The file is one message, and is sent as it is, whatever it holds. When this ends with 0, it is in the recipient's inbox.

  inbox send --id alice --password-file secret --to bob picture.png
  echo hello | inbox send --to bob        (with INBOX_ID and INBOX_PASSWORD set)

` + exitCodes
}

// maxMessage is more than any server takes.
const maxMessage = 1 << 30

// Run sends one message.
func (c *sendCommand) Run(ctx context.Context, s streams) error {
	switch {
	case c.Timeout <= 0:
		return usageError{fmt.Errorf("--timeout is more than 0s")}
	case c.Wait < 0:
		return usageError{fmt.Errorf("--wait is not negative")}
	case c.File == "-" && c.PasswordFile == "-":
		return usageError{fmt.Errorf("the password and the message cannot both be standard input")}
	}
	if err := inbox.CheckID(c.To); err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if c.Key != "" {
		if err := inbox.CheckKey(c.Key); err != nil {
			return usageError{fmt.Errorf("--key: %w", err)}
		}
	}
	how := &progress{limit: fmt.Sprint("for up to ", c.Timeout), wait: fmt.Sprint("for up to ", c.Wait)}
	peer, err := c.client(ctx, s, inboxclient.Config{RetryFor: c.Timeout, Wait: c.Wait}, how)
	if err != nil {
		return err
	}
	if c.File == "-" && isTerminal(os.Stdin) {
		s.note("type the message, and end it with Ctrl-D")
	}
	body, err := readUpTo(ctx, c.File, maxMessage)
	if err != nil {
		return plain(err)
	}
	how.begin()
	defer how.end()
	return plain(peer.SendDraft(ctx, c.To, inbox.Draft{Key: c.Key, Body: body}))
}
