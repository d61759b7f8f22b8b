// Package web holds the pages of the server: what it is, and a call page that
// shows it. They are part of the binary.
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
	"time"
)

//go:embed demo
var demo embed.FS

// contentTypes is complete: a file of another type is a mistake, and never guessed.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
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

type page struct {
	name        string
	contentType string
	etag        string
	content     []byte
}

// Handler serves the pages: / and /call, and what they need under /assets/.
// All URLs in them are relative, so that it can be mounted under any path with
// [http.StripPrefix]; the server's /inbox must be beside it.
func Handler() http.Handler {
	pages := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		p, ok := pages["/"+strings.TrimPrefix(r.URL.Path, "/")]
		switch {
		case !ok:
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "Nothing is here. There are two pages, / and /call, and /inbox for programs.", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "A page can only be read, with GET or HEAD.", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Content-Type", p.contentType)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("ETag", p.etag)
			http.ServeContent(w, r, p.name, time.Time{}, bytes.NewReader(p.content))
		}
	})
}

// load reads the embedded files into a map by path, so that a request can name
// nothing else: no directory, and no way out of one.
func load() map[string]page {
	pages := make(map[string]page)
	err := fs.WalkDir(demo, "demo", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := demo.ReadFile(name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			panic("web: no content type is known for " + name)
		}
		sum := sha256.Sum256(content)
		pages[urlPath(name)] = page{
			name:        path.Base(name),
			contentType: contentType,
			etag:        `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
			content:     content,
		}
		return nil
	})
	if err != nil {
		panic("web: " + err.Error()) // embedded files can always be read
	}
	return pages
}

func urlPath(name string) string {
	switch url := strings.TrimPrefix(name, "demo"); url {
	case "/index.html":
		return "/"
	default:
		return strings.TrimSuffix(url, ".html")
	}
}
