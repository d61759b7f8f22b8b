package client_test

import (
	"context"
	"errors"
	"testing"

	"inbox"
	"inbox/client"
)

// Error texts describe the failure, and errors.Is matches the errors of package inbox.
func TestErrors(t *testing.T) {
	for want, err := range map[string]error{
		"no-such-inbox: The recipient has none.":             &client.Error{Status: 404, Code: "no-such-inbox", Detail: "The recipient has none."},
		"no-such-inbox: the recipient has no inbox":          &client.Error{Status: 404, Code: "no-such-inbox"}, // as on a socket
		"rate-limited: too many requests or wrong passwords": &client.Error{Status: 429, Code: "rate-limited"},
		"too-slow": &client.Error{Status: 408, Code: "too-slow"},
		"unexpected response: 502 Bad Gateway (not from an inbox server)":                                &client.Error{Status: 502},
		"gave up after retries: inbox-full: the recipient's inbox is full":                               &client.RetryError{Last: &client.Error{Status: 503, Code: "inbox-full"}},
		"context canceled (last error: unexpected response: 502 Bad Gateway (not from an inbox server))": &client.RetryError{Last: &client.Error{Status: 502}, Ended: context.Canceled},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for code, want := range map[string]error{
		"unauthorized":      inbox.ErrUnauthorized,
		"rate-limited":      inbox.ErrRateLimited,
		"no-such-inbox":     inbox.ErrNoInbox,
		"bad-cursor":        inbox.ErrBadCursor,
		"replaced":          inbox.ErrReplaced,
		"closed":            inbox.ErrClosed,
		"inbox-full":        inbox.ErrFull,
		"server-full":       inbox.ErrServerFull,
		"store-unavailable": inbox.ErrUnavailable,
		"draining":          inbox.ErrDraining,
	} {
		if err := error(&client.RetryError{Last: &client.Error{Code: code}, Ended: context.Canceled}); !errors.Is(err, want) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not both %v and canceled", err, want)
		}
	}
	for _, err := range []error{&client.Error{Status: 401}, &client.Error{Status: 401, Code: "proxy-auth"}} {
		if errors.Is(err, inbox.ErrUnauthorized) {
			t.Errorf("%v is mistaken for a refusal by the inbox", err)
		}
	}
	if err := error(&client.Error{Status: 404}); errors.Is(err, inbox.ErrNoInbox) {
		t.Errorf("%v is mistaken for a response of an inbox server", err)
	}
}
