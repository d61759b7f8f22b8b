package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"inbox/internal/check"
)

// checkCommand is "inbox check".
type checkCommand struct {
	URL      string `arg:"" name:"URL" help:"Of the server, as in https://signal.example.com."`
	Insecure bool   `env:"INBOX_INSECURE" help:"Go on with a certificate that nobody trusts, as that of --tls self-signed."`
	JSON     bool   `name:"json" env:"-" help:"Print one JSON object per check, for programs."`
}

func (*checkCommand) Help() string {
	return `From where it runs, it tries out the name, the certificate, each transport, STUN, each way to the TURN relay and the relay itself, and what must not be open to strangers.

  inbox check https://signal.example.com

Exit codes:

  0    everything works, maybe with warnings
  1    something does not work
  2    the command line makes no sense
  7    strangers can do what they should not
  130  interrupted`
}

var (
	errCheckFailed = errors.New("something does not work")
	errOpen        = errors.New("strangers can do what they should not")
)

// Run prints what the checks find.
func (c *checkCommand) Run(ctx context.Context, s streams) error {
	if _, err := check.ParseURL(c.URL); err != nil {
		return usageError{err}
	}
	var err error
	ended := check.Run(ctx, check.Config{URL: c.URL, Insecure: c.Insecure}, func(r check.Result) {
		switch {
		case r.State == check.Open:
			err = errOpen
		case r.State == check.Failed && err == nil:
			err = errCheckFailed
		}
		if c.JSON {
			json.NewEncoder(s.out).Encode(r)
			return
		}
		printResult(s.out, r)
	})
	return errors.Join(plainOrNil(ended), err)
}

// printResult fits into 80 columns, but for words that are longer.
func printResult(w io.Writer, r check.Result) {
	const columns, indent = 80, len("warning  ") + len("private pages  ")
	line := fmt.Sprintf("%-7s  %-13s ", r.State, r.Check)
	for word := range strings.FieldsSeq(r.Detail + " " + r.Advice) {
		if len(line)+1+len(word) > columns && len(line) > indent {
			fmt.Fprintln(w, line)
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

func plainOrNil(err error) error {
	if err == nil {
		return nil
	}
	return plain(err)
}
