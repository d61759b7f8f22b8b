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

// checkCommand implements "inbox check".
type checkCommand struct {
	URL      string `arg:"" name:"URL" help:"URL of the server, as in https://signal.example.com."`
	Insecure bool   `env:"INBOX_INSECURE" help:"Continue if the certificate is not trusted, as with --tls self-signed."`
	JSON     bool   `name:"json" env:"-" help:"Print one JSON object per check."`
}

func (*checkCommand) Help() string {
	return `Checks a server from this machine: its name, certificate and transports, STUN, every way to the TURN relay, and that nothing private is open to strangers.

  inbox check https://signal.example.com

Exit codes:

  0    everything works, possibly with warnings
  1    a check failed
  2    invalid command line
  7    something private is open to strangers
  130  interrupted`
}

var (
	errCheckFailed = errors.New("a check failed")
	errOpen        = errors.New("something private is open to strangers")
)

// Run performs the checks and prints each result.
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

// printResult wraps a result at 80 columns, except for words that are longer.
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
