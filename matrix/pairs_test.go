//go:build linux

package matrix

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// INBOX_MATRIX selects what TestPairs tries. By default it tries a few pairs of Go
// programs. "all" tries every pair of them, with and without the relay, and prints tables
// for docs/connecting.md. "chromium" tries every pair with Chromium. "firefox" tries a
// few pairs with Firefox, against itself and Chromium.
var wanted = os.Getenv("INBOX_MATRIX")

// worst are pairs of networks that have as little in common as possible.
var worst = [][2]string{
	{"symmetric NAT", "only TCP 443"},
	{"IPv6 only", "IPv4 only"},
	{"UDP blocked", "double NAT"},
	{"only TCP 443", "only an HTTP proxy"},
	{"NAT that keeps ports", "symmetric NAT"},
	{"5 % loss", "only an HTTP proxy"},
}

func named(name string) network {
	return networks[slices.IndexFunc(networks, func(n network) bool { return n.name == name })]
}

// pairs returns all pairs, or the diagonal and the worst pairs.
func pairs(all bool) (p [][2]network) {
	for _, from := range networks {
		for _, to := range networks {
			if all || from.name == to.name || slices.Contains(worst, [2]string{from.name, to.name}) {
				p = append(p, [2]network{from, to})
			}
		}
	}
	return p
}

// Two peers connect from any networks, if both can reach the server.
func TestPairs(t *testing.T) {
	w := newWorld(t)
	w.background(w.child("proxy", "proxy"), "proxy", "ready")
	switch wanted {
	case "":
		w.mustConnect(t, pairs(false), pion, pion)
	case "all":
		t.Log(table(w.mustConnect(t, pairs(true), pion, pion)))
	case "chromium":
		t.Log(table(w.mustConnect(t, pairs(true), browser("chromium"), browser("chromium"))))
	case "firefox":
		// Firefox cannot use a TURN server through an HTTP proxy, and fails if a tenth of
		// all packets is lost (docs/connecting.md).
		few := slices.DeleteFunc(pairs(false), func(p [2]network) bool {
			return p[0].proxy || p[1].proxy || p[0].loss > 0 && p[1].loss > 0
		})
		t.Log(table(w.mustConnect(t, few, browser("firefox"), browser("firefox"))))
		t.Log(table(w.mustConnect(t, few, browser("firefox"), browser("chromium"))))
	default:
		t.Fatalf("INBOX_MATRIX=%s, want all, chromium or firefox", wanted)
	}
}

// Without the relay, only some pairs connect. This shows that the lab separates the
// others.
func TestPairsWithoutRelay(t *testing.T) {
	apart := [2]network{named("UDP blocked"), named("symmetric NAT")}
	w := newWorld(t, "--turn", "off")
	w.timeout = 8 * time.Second // many pairs never connect
	w.background(w.child("proxy", "proxy"), "proxy", "ready")
	if wanted == "all" {
		t.Log(table(w.try(t, pairs(true), pion, pion, false)))
		return
	}
	all := w.try(t, [][2]network{{named("open"), named("open")}, apart}, pion, pion, false)
	if o := all["open/open"]; !o.Connected || o.Path != "direct" {
		t.Errorf("two open peers: %+v", o)
	}
	if o := all[apart[0].name+"/"+apart[1].name]; o.Connected {
		t.Errorf("UDP is blocked, but the peers connected: %+v", o)
	}
}

// mustConnect makes calls and fails the test for each that does not connect.
func (w *world) mustConnect(t *testing.T, pairs [][2]network, caller, callee maker) map[string]outcome {
	return w.try(t, pairs, caller, callee, true)
}

// try makes calls, several at a time.
func (w *world) try(t *testing.T, pairs [][2]network, caller, callee maker, must bool) map[string]outcome {
	all := make(map[string]outcome)
	var mu sync.Mutex
	t.Run("calls", func(t *testing.T) {
		for _, p := range pairs {
			name := p[0].name + "/" + p[1].name
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				o := w.connect(t, p[0], p[1], caller, callee)
				t.Logf("%+v", o)
				if must && !o.Connected {
					t.Fail()
				}
				mu.Lock()
				defer mu.Unlock()
				all[name] = o
			})
		}
	})
	return all
}

// table returns a Markdown table with a row per caller's network and a column per
// callee's network.
func table(all map[string]outcome) string {
	var b strings.Builder
	b.WriteString("\n\n| from, to |")
	for _, n := range networks {
		fmt.Fprintf(&b, " %s |", n.name)
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(networks)+1) + "\n")
	var took []time.Duration
	connected := 0
	for _, from := range networks {
		fmt.Fprintf(&b, "| **%s** |", from.name)
		for _, to := range networks {
			o, tried := all[from.name+"/"+to.name]
			switch {
			case !tried:
				b.WriteString("  |")
			case !o.Connected:
				b.WriteString(" – |")
			default:
				connected++
				took = append(took, o.Took)
				fmt.Fprintf(&b, " %s %.1f s |", word(o), o.Took.Seconds())
			}
		}
		b.WriteString("\n")
	}
	slices.Sort(took)
	if connected > 0 {
		fmt.Fprintf(&b, "\n%d of %d connect, in %v (median)\n", connected, len(all), took[len(took)/2].Round(time.Millisecond))
	}
	return b.String()
}

func word(o outcome) string {
	if o.Path == "direct" {
		return "direct"
	}
	return o.Transport
}
