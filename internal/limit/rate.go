// Package limit bounds what one client may do: how often ([Table]), and how many of
// something it may have at a time ([Shares]). A client is an IPv4 address, or the /64 of
// an IPv6 address; a /48 may do 16 times as much as a /64. What is not known of a client
// counts as nothing done, so a limiter never needs more memory than it has.
package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Rate is how often something may happen: Burst times at once, and then PerSecond
// times a second. The zero Rate is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Off reports whether r is no limit.
func (r Rate) Off() bool { return r.PerSecond <= 0 }

// times returns a rate that is so many times as high.
func (r Rate) times(n int) Rate { return Rate{r.PerSecond * float64(n), r.Burst * n} }

const (
	// worth is the burst of a rate that names none, in seconds.
	worth    = 10
	maxRate  = 1e6 // events a second: more is no limit to a server
	maxBurst = 1e9
)

// units are what a rate may be per.
var units = []struct {
	name string
	time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

var errRate = errors.New("a rate is N/s, N/m or N/h, with a burst if you like, as in 300/s,burst=3000; 0 is no limit")

// UnmarshalText reads a rate as String writes it. Without a burst, it is what the rate
// allows in ten seconds.
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
		return fmt.Errorf("a rate is at most %d/s", int(maxRate))
	}
	size := max(1, int(math.Ceil(perSecond*worth)))
	if hasBurst {
		if size, err = strconv.Atoi(burst); err != nil || size < 1 || size > maxBurst {
			return errRate
		}
	}
	if float64(size)/perSecond > (365 * 24 * time.Hour).Seconds() {
		return errors.New("a burst refills within a year")
	}
	*r = Rate{perSecond, size}
	return nil
}

// MarshalText writes a rate per second, minute or hour, whichever gives a whole number.
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
