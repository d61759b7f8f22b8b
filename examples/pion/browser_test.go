package main

import (
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// The page of the other example calls this program. What the SDK does is tested
// beside it, in web/e2e.
func TestBrowser(t *testing.T) {
	url, _ := serve(t)
	inboxtest.Browse(t, url+"/plain/#call=echo", func(line string) bool {
		return strings.Contains(line, `"They: Hello!"`)
	})
}
