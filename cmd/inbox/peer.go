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

// peerFlags are the flags of the commands that act as a peer.
type peerFlags struct {
	Server       string `default:"http://localhost:3000/inbox" env:"INBOX_SERVER" placeholder:"URL" group:"Who and where" help:"URL of the server's inboxes (${default})."`
	ID           string `required:"" env:"INBOX_ID" placeholder:"ID" group:"Who and where" help:"Your id, which is also the name of your inbox."`
	PasswordFile string `env:"INBOX_PASSWORD_FILE" placeholder:"FILE" group:"Who and where" help:"File with your password. One trailing line break is ignored."`
	Password     string `env:"-" placeholder:"PASSWORD" group:"Who and where" help:"Your password. Other users of this machine can see it: prefer a file, or $$INBOX_PASSWORD."`
	Insecure     bool   `env:"INBOX_INSECURE" group:"Who and where" help:"Skip verification of the server's certificate, as for --tls self-signed."`
	Verbose      bool   `short:"v" env:"-" group:"Who and where" help:"Report the transport and retries on standard error."`
}

// exitCodes is part of the help. A test covers it.
const exitCodes = `Exit codes:

  0    done
  1    failed
  2    invalid command line
  3    no message arrived in time
  4    the recipient has no inbox, or the code does not work
  5    wrong password
  6    the inbox was closed, or another receiver took over
  130  interrupted`

var (
	errNothing     = errors.New("no message arrived in time")
	errInterrupted = errors.New("interrupted")
)

// usageError is a mistake in the command line that kong cannot detect.
type usageError struct{ error }

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNothing):
		return 3
	case errors.Is(err, inbox.ErrNoInbox), errors.Is(err, inbox.ErrNoCode):
		return 4
	case errors.Is(err, inbox.ErrUnauthorized):
		return 5
	case errors.Is(err, inbox.ErrReplaced), errors.Is(err, inbox.ErrClosed):
		return 6
	case errors.Is(err, errOpen):
		return 7
	case errors.Is(err, errInterrupted):
		return 130 // as in a shell
	}
	return 1
}

// client returns a client configured by the flags and by config. It reports its progress
// to report.
func (p *peerFlags) client(ctx context.Context, s streams, config inboxclient.Config, report *progress) (*inboxclient.Client, error) {
	password, err := p.password(ctx, s)
	if err != nil {
		return nil, err
	}
	config.URL, config.ID, config.Password = p.Server, p.ID, password
	if u, err := url.Parse(p.Server); err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/inbox" // no server has its inboxes at the root
		config.URL = u.String()
	}
	if p.Insecure && strings.HasPrefix(config.URL, "http:") {
		s.note("--insecure has no effect: " + config.URL + " has no certificate")
	}
	if p.Insecure {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		config.HTTP = &http.Client{Transport: transport}
	}
	report.note, report.server = s.note, config.URL
	config.Log = slog.New(report)
	if p.Verbose {
		text := slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelDebug})
		config.Log = slog.New(slog.NewMultiHandler(report, text))
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
		return "", usageError{errors.New("--password and --password-file exclude each other")}
	case p.Password != "":
		s.note("other users of this machine can see --password: use --password-file or $INBOX_PASSWORD")
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
	return "", usageError{errors.New("no password: set $INBOX_PASSWORD or --password-file")}
}

// note prints a remark on standard error.
func (s streams) note(text string) { fmt.Fprintln(s.err, "inbox:", text) }

// readUpTo reads a file, or standard input if name is "-", until ctx ends. It returns an
// error if there are more than most bytes.
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
			err = fmt.Errorf("%s is larger than %d bytes", f.Name(), most)
		}
		return content, err
	})
}

// grace is how long a read or write may continue after an interrupt.
const grace = time.Second

// unlessEnded runs f, which may block on a person or another program. If ctx ends, it
// waits for f for grace and then abandons it, since nothing can interrupt it.
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
	case r := <-done: // so that a message that was printed is also acknowledged
		return r.value, r.err
	case <-time.After(grace):
		var none T
		return none, ctx.Err()
	}
}

// plain replaces the errors of a context by plain words.
func plain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	if e, ok := errors.AsType[*inboxclient.RetryError](err); ok && e.Ended != nil {
		return e.Last
	}
	return err
}
