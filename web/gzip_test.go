package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"inbox/web"
)

func TestGzip(t *testing.T) {
	h := web.Handler()
	for _, url := range urls(t) {
		plain, want := ask(t, h, "GET", url)
		if plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("GET %s: %v", url, plain.Header)
		}
		res, content := ask(t, h, "GET", url, "Accept-Encoding", "br, gzip;q=0.8")
		if res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("GET %s: %v", url, res.Header)
			continue
		}
		if got := res.Header.Get("Content-Type"); got != plain.Header.Get("Content-Type") {
			t.Errorf("GET %s: Content-Type %q", url, got)
		}
		r, err := gzip.NewReader(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("GET %s: %d bytes, want the plain content: %v", url, len(got), err)
		}
		etag := res.Header.Get("ETag")
		if etag == plain.Header.Get("ETag") {
			t.Errorf("GET %s: both variants have the ETag %s", url, etag)
		}
		res, content = ask(t, h, "GET", url, "Accept-Encoding", "gzip", "If-None-Match", etag)
		if res.StatusCode != http.StatusNotModified || content != "" {
			t.Errorf("GET %s again: %s, %d bytes", url, res.Status, len(content))
		}
	}
}

func TestAcceptEncoding(t *testing.T) {
	h := web.Handler()
	for accept, want := range map[string]string{
		"":                  "",
		"gzip":              "gzip",
		"GZIP":              "gzip",
		"deflate, gzip, br": "gzip",
		"gzip;q=1.0":        "gzip",
		"gzip ; q=0.001":    "gzip",
		"gzip;q=0":          "",
		"gzip;Q=0.000":      "",
		"br, identity":      "",
		"*":                 "",
		"gzipped, x-gzip":   "",
		",;,;q=,":           "",
	} {
		res, _ := ask(t, h, "GET", "/inbox.js", "Accept-Encoding", accept)
		if got := res.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", accept, got, want)
		}
	}
}
