package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"inbox"
	inboxclient "inbox/client"
)

// peerFlags are those of the commands that act for a peer.
type peerFlags struct {
	Server       string `default:"http://localhost:3000/inbox" env:"INBOX_SERVER" placeholder:"URL" group:"Who and where" help:"The server's inboxes (${default})."`
	ID           string `required:"" env:"INBOX_ID" placeholder:"ID" group:"Who and where" help:"Who you are: the id of your own inbox."`
	PasswordFile string `env:"INBOX_PASSWORD_FILE" placeholder:"FILE" group:"Who and where" help:"Holds your password; a line break at its end does not count."`
	Password     string `env:"-" placeholder:"PASSWORD" group:"Who and where" help:"Your password itself. Others on this machine can see it: rather use a file, or $$INBOX_PASSWORD."`
	Insecure     bool   `env:"INBOX_INSECURE" group:"Who and where" help:"Do not check the server's certificate, as for one started with --tls self-signed."`
	Verbose      bool   `short:"v" env:"-" group:"Who and where" help:"Say on standard error which transport is used and what is retried."`
}

// exitCodes are for the help, and tested.
const exitCodes = `Exit codes:

  0    done
  1    failed
  2    the command line makes no sense
  3    nothing arrived in time
  4    the recipient has no inbox
  5    wrong password for this inbox
  6    the inbox was closed, or another receiver has taken over
  130  interrupted`

var (
	errNothing     = errors.New("nothing arrived in time")
	errInterrupted = errors.New("interrupted")
)

// usageError is a mistake in the command line that kong could not see.
type usageError struct{ error }

// exitCode is what a script learns of an error.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNothing):
		return 3
	case errors.Is(err, inbox.ErrNoInbox):
		return 4
	case errors.Is(err, inbox.ErrUnauthorized):
		return 5
	case errors.Is(err, inbox.ErrReplaced), errors.Is(err, inbox.ErrClosed):
		return 6
	case errors.Is(err, errOpen):
		return 7
	case errors.Is(err, errInterrupted):
		return 130 // as of a shell's own
	}
	return 1
}

// client makes a client of the flags and of what a command adds to them. how is told
// of its progress.
func (p *peerFlags) client(ctx context.Context, s streams, config inboxclient.Config, how *progress) (*inboxclient.Client, error) {
	password, err := p.password(ctx, s)
	if err != nil {
		return nil, err
	}
	config.URL, config.ID, config.Password = p.Server, p.ID, password
	if u, err := url.Parse(p.Server); err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/inbox" // nobody serves inboxes at the root
		config.URL = u.String()
	}
	if p.Insecure && strings.HasPrefix(config.URL, "http:") {
		s.note("--insecure does nothing: " + config.URL + " has no certificate")
	}
	if p.Insecure {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		config.HTTP = &http.Client{Transport: transport}
	}
	how.note, how.server = s.note, config.URL
	config.Log = slog.New(how)
	if p.Verbose {
		text := slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelDebug})
		config.Log = slog.New(slog.NewMultiHandler(how, text))
	}
	c, err := inboxclient.New(config)
	if err != nil {
		return nil, usageError{errors.New(strings.TrimPrefix(err.Error(), "client: "))}
	}
	return c, nil
}

func (p *peerFlags) password(ctx context.Context, s streams) (string, error) {
	env := os.Getenv(peerPassword)
	switch {
	case p.Password != "" && p.PasswordFile != "":
		return "", usageError{errors.New("--password and --password-file do not go together")}
	case p.Password != "":
		s.note("others on this machine can see --password: use --password-file or $INBOX_PASSWORD")
		return p.Password, nil
	case p.PasswordFile != "":
		content, err := readUpTo(ctx, p.PasswordFile, 4<<10)
		if errors.Is(err, context.Canceled) {
			return "", errInterrupted
		}
		if err != nil {
			return "", usageError{fmt.Errorf("cannot read the password: %w", err)}
		}
		line := bytes.TrimSuffix(content, []byte("\n"))
		return string(bytes.TrimSuffix(line, []byte("\r"))), nil
	case env != "":
		return env, nil
	}
	return "", usageError{errors.New("a password is needed: in $INBOX_PASSWORD or in a --password-file")}
}

// note says something on standard error that is no failure.
func (s streams) note(text string) { fmt.Fprintln(s.err, "inbox:", text) }

// readUpTo reads a file, or standard input if its name is "-", until ctx ends. More
// than most is an error.
func readUpTo(ctx context.Context, name string, most int64) ([]byte, error) {
	return unlessEnded(ctx, func() ([]byte, error) {
		f := os.Stdin
		if name != "-" {
			var err error
			if f, err = os.Open(name); err != nil {
				return nil, err
			}
			defer f.Close()
		}
		content, err := io.ReadAll(io.LimitReader(f, most+1))
		if err == nil && int64(len(content)) > most {
			err = fmt.Errorf("%s holds more than %d bytes", f.Name(), most)
		}
		return content, err
	})
}

// grace is how long what is being read or written when an interrupt comes may take.
const grace = time.Second

// unlessEnded runs f, which may wait for a person or another program, and leaves it
// behind when ctx ends, after a grace: nothing else would free it.
func unlessEnded[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // a message that was printed is not to come again
		return r.value, r.err
	case <-time.After(grace):
		var none T
		return none, ctx.Err()
	}
}

// plain says in words of ours what the end of a context says.
func plain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	if e, ok := errors.AsType[*inboxclient.RetryError](err); ok && e.Ended != nil {
		return e.Last
	}
	return err
}
