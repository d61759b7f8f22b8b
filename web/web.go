// Package web holds the pages of the server: what it is, and two that show it, for
// calls and for files; and the SDK, as pages import it. They are part of the binary.
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

// demo is what the pages are made of. dist is built from sdk, and committed, so
// that building the server needs no npm; a test there compares the two.
//
//go:embed demo dist
var files embed.FS

// contentTypes is complete: a file of another type is a mistake, and never guessed.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".ico":  "image/x-icon",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// securityHeaders go out with every answer. The pages may use camera and
// microphone, so nothing but their own files may run or be loaded in them.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'self'; connect-src 'self'; media-src blob: 'self'; " +
		"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types 'none'",
	"Permissions-Policy":           "camera=(self), microphone=(self), display-capture=(self)",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// sharedHeaders go out with the SDK instead: any page may import it.
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

// A variant is a page as some clients get it. Each has an ETag of its own.
type variant struct {
	etag    string
	content []byte
}

func newVariant(content []byte) variant {
	sum := sha256.Sum256(content)
	return variant{etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, content: content}
}

// Handler serves the pages: /, /call, /files and /test, what they need under /assets/,
// /favicon.ico, and the SDK: /inbox.js, and the part of it without WebRTC, /messaging.js,
// whose former name is /mailbox.js.
// All URLs in them are relative, so that it can be mounted under any path with
// [http.StripPrefix]; the server's /inbox must be beside it.
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
			http.Error(w, "A page can only be read, with GET or HEAD.", http.StatusMethodNotAllowed)
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

// allPages compresses them, which takes a moment, once.
var allPages = sync.OnceValue(load)

// load reads the embedded files into a map by path, so that a request can name
// nothing else: no directory, and no way out of one.
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
