package inboxhttp

import "inbox/internal/limit"

// rareRows is how many addresses and ids the handler remembers that did something rare,
// for 32 bytes each.
const rareRows = 4 << 10

// The rare things.
const (
	guests = iota
	reports
	reporters
)

// A guest is a page that asks for ICE servers without a password: twice in each of 500
// browsers of a school at once, and then once a second.
var guestRate = limit.Rate{PerSecond: 1, Burst: 1000}

// An inbox reports one outcome a minute. An id need not have one, so an address that makes
// ids up has a limit too.
var (
	reportRate   = limit.Rate{PerSecond: 1. / 60, Burst: 1}
	reporterRate = limit.Rate{PerSecond: 1, Burst: 1000}
)
