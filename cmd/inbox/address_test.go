package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAddress(t *testing.T) {
	for remote, want := range map[string]struct {
		status int
		body   string
	}{
		"203.0.113.7:4000":         {http.StatusOK, "203.0.113.7\n"},
		"[::ffff:203.0.113.7]:400": {http.StatusOK, "203.0.113.7\n"},
		"[2001:db8::7]:0":          {http.StatusOK, "2001:db8::7\n"},
		"@":                        {http.StatusNotFound, "unknown\n"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/address", nil)
		r.RemoteAddr = remote
		w := httptest.NewRecorder()
		address(w, r)
		if w.Code != want.status || w.Body.String() != want.body {
			t.Errorf("%s: %d %q, want %d %q", remote, w.Code, w.Body, want.status, want.body)
		}
	}
}
