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
	To      string        `required:"" env:"-" placeholder:"ID" group:"Message" help:"Whose inbox the message is for."`
	Key     string        `env:"-" placeholder:"KEY" group:"Message" help:"The same message with the same key arrives once, however often it is sent. A random one."`
	Wait    time.Duration `default:"0s" env:"-" placeholder:"DURATION" group:"Message" help:"How long to wait for a recipient that has no inbox yet, as in 30s (${default})."`
	Timeout time.Duration `default:"30s" env:"-" placeholder:"DURATION" group:"Message" help:"How long to try again what may succeed later (${default})."`
	File    string        `arg:"" optional:"" default:"-" help:"What to send; - is standard input."`
}

func (*sendCommand) Help() string {
	return `The file is sent as it is, as one message, whatever it holds.

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
	peer, err := c.client(s, inboxclient.Config{RetryFor: c.Timeout, Await: c.Wait})
	if err != nil {
		return err
	}
	if info, err := os.Stdin.Stat(); c.File == "-" && err == nil && info.Mode()&os.ModeCharDevice != 0 {
		s.note("type the message, and end it with Ctrl-D")
	}
	body, err := readUpTo(c.File, maxMessage)
	if err != nil {
		return err
	}
	return plain(peer.SendDraft(ctx, c.To, inbox.Draft{Key: c.Key, Body: body}))
}
