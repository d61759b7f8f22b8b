package main

import (
	"fmt"
	"time"

	"inbox"
	"inbox/internal/guard"
	"inbox/internal/limit"
	"inbox/internal/meter"
)

// guardFlags keep strangers from filling inboxes and from guessing passwords.
type guardFlags struct {
	SenderShare            int        `default:"50" group:"Limits" help:"Percentage of an inbox that one sender can fill while it has messages from no other sender; 0: all of it."`
	LimitPasswords         limit.Rate `default:"1/s,burst=60" group:"Limits of one address" help:"Wrong passwords."`
	LimitPasswordsPerInbox limit.Rate `default:"10/m,burst=10" group:"Limits of one address" help:"Wrong passwords for one inbox. All addresses together get ten times as many. An address that has used the right password is never slowed down."`
}

// allAddresses is the limit of wrong passwords at one inbox for all addresses together, as a
// multiple of the limit for one address.
const allAddresses = 10

func (f *guardFlags) check() error {
	if f.SenderShare < 0 || f.SenderShare > 100 {
		return fmt.Errorf("--sender-share is %d, want a percentage from 0 to 100", f.SenderShare)
	}
	return nil
}

// limit adds these limits to a store's.
func (f *guardFlags) limit(l inbox.Limits) inbox.Limits {
	l.Share = f.SenderShare // 0 means all of it, for a store too
	if r := f.LimitPasswordsPerInbox; !r.Off() {
		l.Guesses = inbox.Guesses{
			Every: time.Duration(float64(time.Second) / (allAddresses * r.PerSecond)),
			Burst: allAddresses * r.Burst,
		}
	}
	return l
}

// guard wraps a store to bound the wrong passwords that one address can try.
func (f *guardFlags) guard(s inbox.Store, refusals *meter.Refusals) inbox.Store {
	return guard.New(s, guard.Config{Address: f.LimitPasswords, Inbox: f.LimitPasswordsPerInbox, Refusals: refusals})
}
