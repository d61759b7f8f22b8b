package main

import (
	"errors"
	"time"

	"inbox"
	"inbox/internal/guard"
	"inbox/internal/limit"
	"inbox/internal/meter"
)

// guardFlags keep strangers from filling inboxes and from guessing their passwords.
type guardFlags struct {
	SenderShare            int        `default:"50" group:"Limits" help:"Percent of an inbox that one sender can fill while no other sender has a message in it; 0: all of it."`
	LimitPasswords         limit.Rate `default:"1/s,burst=60" group:"Limits of one address" help:"Wrong passwords."`
	LimitPasswordsPerInbox limit.Rate `default:"10/m,burst=10" group:"Limits of one address" help:"Wrong passwords for one inbox. All addresses together can try ten times as many. They never slow down an address that has shown the right password."`
}

// guessesOfAll is how many times as many wrong passwords all addresses together can try at
// one inbox as one of them can.
const guessesOfAll = 10

func (f *guardFlags) check() error {
	if f.SenderShare < 0 || f.SenderShare > 100 {
		return errors.New("--sender-share is 0 to 100, in percent")
	}
	return nil
}

// limit adds what a store keeps of this.
func (f *guardFlags) limit(l inbox.Limits) inbox.Limits {
	l.Share = f.SenderShare // 0 means all to a store too
	if r := f.LimitPasswordsPerInbox; !r.Off() {
		l.Guesses = inbox.Guesses{
			Every: time.Duration(float64(time.Second) / (guessesOfAll * r.PerSecond)),
			Burst: guessesOfAll * r.Burst,
		}
	}
	return l
}

// guard bounds how many wrong passwords one address can try at a store.
func (f *guardFlags) guard(s inbox.Store, refusals *meter.Refusals) inbox.Store {
	return guard.New(s, guard.Config{Address: f.LimitPasswords, Inbox: f.LimitPasswordsPerInbox, Refusals: refusals})
}
