// Package web serves the pages of the server (start, call, files and test) and the SDK that
// pages import. All of them are embedded in the binary. Mount [Handler] next to the server's
// other handlers; it needs no configuration.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// The pages are in demo, as they are served. dist is built from sdk and committed, so that
// building the server needs no npm. A test of the SDK compares the two.
//
//go:embed demo dist
var files embed.FS

// contentTypes contains the type of every embedded file. Types are never guessed: load
// panics on another extension.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".ico":  "image/x-icon",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// securityHeaders are part of every response. The pages may use camera and microphone, so
// they may load and run only their own files.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'self'; connect-src 'self'; media-src blob: 'self'; " +
		"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types 'none'",
	"Permissions-Policy":           "camera=(self), microphone=(self), display-capture=(self)",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// sharedHeaders replace some of them for the SDK, which any page may import.
var sharedHeaders = map[string]string{
	"Access-Control-Allow-Origin":  "*",
	"Cross-Origin-Resource-Policy": "cross-origin",
}

type page struct {
	name        string
	shared      bool
	contentType string
	plain       variant
	gzipped     variant
}

// A variant is one encoding of a page, with its own ETag.
type variant struct {
	etag    string
	content []byte
}

func newVariant(content []byte) variant {
	sum := sha256.Sum256(content)
	return variant{etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, content: content}
}

// Handler returns a handler that serves the pages (/, /call, /files and /test), their files
// under /assets/, /favicon.ico, and the SDK: /inbox.js; its part without WebRTC,
// /messaging.js, formerly /mailbox.js; rooms, /rooms.js, which imports /inbox.js; codes,
// /codes.js; and the strategy for Trystero, /trystero.js. It answers other paths with 404 and is
// safe for concurrent use.
//
// All URLs in the pages are relative, so the handler can be mounted below any path with
// [http.StripPrefix]. The server's /inbox must be mounted below the same path.
func Handler() http.Handler {
	pages := allPages()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w)
		p, ok := pages["/"+strings.TrimPrefix(r.URL.Path, "/")]
		switch {
		case !ok:
			if to := withoutSlash(pages, r.URL); to != "" {
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusPermanentRedirect)
				return
			}
			missing(w, r, up("/"+strings.TrimPrefix(r.URL.Path, "/")))
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "Pages can only be read: use GET or HEAD.", http.StatusMethodNotAllowed)
		default:
			if p.shared {
				for name, value := range sharedHeaders {
					w.Header().Set(name, value)
				}
			}
			w.Header().Set("Content-Type", p.contentType)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Add("Vary", "Accept-Encoding")
			chosen := p.plain
			if acceptsGzip(strings.Join(r.Header.Values("Accept-Encoding"), ",")) {
				w.Header().Set("Content-Encoding", "gzip")
				chosen = p.gzipped
			}
			w.Header().Set("ETag", chosen.etag)
			http.ServeContent(w, r, p.name, time.Time{}, bytes.NewReader(chosen.content))
		}
	})
}

func guard(w http.ResponseWriter) {
	for name, value := range securityHeaders {
		w.Header().Set(name, value)
	}
}

// allPages loads and compresses the pages once, on first use.
var allPages = sync.OnceValue(load)

// load reads the embedded files into a map by URL path. A request can therefore name neither
// a directory nor a file outside.
func load() map[string]page {
	pages := make(map[string]page)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			panic("web: no content type is known for " + name)
		}
		pages[urlPath(name)] = page{
			name:        path.Base(name),
			shared:      strings.HasPrefix(name, "dist/"),
			contentType: contentType,
			plain:       newVariant(content),
			gzipped:     newVariant(compress(content)),
		}
		return nil
	})
	if err != nil {
		panic("web: " + err.Error()) // embedded files can always be read
	}
	return pages
}

func urlPath(name string) string {
	switch url := name[strings.Index(name, "/"):]; url { // without demo, dist
	case "/index.html":
		return "/"
	default:
		return strings.TrimSuffix(url, ".html")
	}
}
