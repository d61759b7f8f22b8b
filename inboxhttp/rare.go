package inboxhttp

import "inbox/internal/limit"

// rareRows is how many addresses and ids the table of rare events remembers, at 32 bytes
// each.
const rareRows = 4 << 10

// Kinds of rare events.
const (
	guests = iota
	reports
	reporters
)

// guestRate bounds requests for ICE servers without a password, per address. The burst
// allows two requests from each of 500 browsers of a school.
var guestRate = limit.Rate{PerSecond: 1, Burst: 1000}

// reportRate allows one report a minute per id, and reporterRate bounds reports per
// address: a reporter needs no inbox, so a client could invent ids.
var (
	reportRate   = limit.Rate{PerSecond: 1. / 60, Burst: 1}
	reporterRate = limit.Rate{PerSecond: 1, Burst: 1000}
)
