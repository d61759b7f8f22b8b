// Package limit bounds what a client may do: how often ([Table]), and how many of
// something it may have at a time ([Shares]). [Clients] combine them into the limits of a
// server. A client is an IPv4 address or an IPv6 /64; an IPv6 /48 may do 16 times as much
// as a /64. Tables have a fixed size. They forget the clients that did least, which then
// count as new.
package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Rate is how often something may happen: Burst times in a row, and PerSecond times a
// second on average. The zero Rate sets no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Off reports whether r sets no limit.
func (r Rate) Off() bool { return r.PerSecond <= 0 }

// times returns r multiplied by n.
func (r Rate) times(n int) Rate { return Rate{r.PerSecond * float64(n), r.Burst * n} }

const (
	// defaultBurst is the burst of a rate without one, in seconds of the rate.
	defaultBurst = 10
	maxRate      = 1e6 // events per second; a server cannot reach more
	maxBurst     = 1e9
)

// units are the accepted units of time.
var units = []struct {
	name string
	time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

var errRate = errors.New("want a rate like 300/s, 20/m or 5/h, optionally with a burst (300/s,burst=3000), or 0 for no limit")

// UnmarshalText parses "0", "off", or a rate in the format of String. Without a burst,
// the burst is what the rate allows in ten seconds.
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "0" || s == "off" {
		*r = Rate{}
		return nil
	}
	rate, burst, hasBurst := strings.Cut(s, ",burst=")
	count, unit, _ := strings.Cut(rate, "/")
	n, err := strconv.ParseFloat(count, 64)
	per := time.Duration(0)
	for _, u := range units {
		if u.name == unit {
			per = u.Duration
		}
	}
	if err != nil || per == 0 || !(n > 0) {
		return errRate
	}
	perSecond := n / per.Seconds()
	if perSecond > maxRate {
		return fmt.Errorf("a rate must be at most %d/s", int(maxRate))
	}
	size := max(1, int(math.Ceil(perSecond*defaultBurst)))
	if hasBurst {
		if size, err = strconv.Atoi(burst); err != nil || size < 1 || size > maxBurst {
			return errRate
		}
	}
	if float64(size)/perSecond > (365 * 24 * time.Hour).Seconds() {
		return errors.New("the burst must refill within a year")
	}
	*r = Rate{perSecond, size}
	return nil
}

// MarshalText formats a rate per second, minute or hour, whichever yields an integer.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r.Off() {
		return "0"
	}
	for _, u := range units {
		if n := r.PerSecond * u.Seconds(); math.Abs(n-math.Round(n)) < 1e-6 && n >= 1 {
			return fmt.Sprintf("%d/%s,burst=%d", int(math.Round(n)), u.name, r.Burst)
		}
	}
	return fmt.Sprintf("%g/h,burst=%d", r.PerSecond*3600, r.Burst)
}
