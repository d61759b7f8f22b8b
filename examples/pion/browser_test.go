package main

import (
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// The page of the plain example calls this program. web/e2e tests calls with the SDK.
func TestBrowser(t *testing.T) {
	url, _ := serve(t)
	inboxtest.Browse(t, url+"/plain/#call=echo", func(line string) bool {
		return strings.Contains(line, `"They: Hello!"`)
	})
}
