//go:build linux

package matrix

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// In a browser, the page /test detects what is wrong with a network.
func TestPageFindsTheFault(t *testing.T) {
	if _, err := os.Stat("../web/node_modules/playwright-core"); err != nil {
		fmt.Println("matrix: skipped: browsers need the packages of web: make web/node_modules")
		t.Skip(err)
	}
	w := newWorld(t)
	for name, want := range map[string]string{
		"open":          "network",
		"symmetric NAT": "symmetric-nat",
		"UDP blocked":   "udp-blocked",
		"only TCP 443":  "only-443",
		"IPv6 only":     "ipv6-only",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &world{lab: w.lab.of(t), authority: w.authority}
			site := in.site(named(name))
			in.background(in.child(site, "names"), "names", "ready")
			c := in.command(site, "node", "../web/matrix/test-page.js", "https://"+serverName+"/")
			var log strings.Builder
			c.Stderr = &log
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			var page struct {
				Found  []string
				Report string
			}
			if err := json.Unmarshal(out, &page); err != nil {
				t.Fatal(err)
			}
			t.Log(page.Report)
			if !slices.Contains(page.Found, want) || !slices.Contains(page.Found, "relay") {
				t.Errorf("the page finds %q, want %s, and a working relay", page.Found, want)
			}
		})
	}
}
