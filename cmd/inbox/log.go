package main

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"inbox/internal/clientaddr"
)

// logRequests writes a line per request at debug level, without anything that a
// peer chose: no id, no recipient, no path, no query, no header. With clients it adds
// the client's address.
func logRequests(log *slog.Logger, clients bool, next http.Handler) http.Handler {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, log := time.Now(), log
		if clients {
			log = log.With("client", clientaddr.Of(r.RemoteAddr))
		}
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		if rec.taken {
			log.Debug("request goes on waiting", "method", method(r), "route", r.Pattern, "proto", r.Proto)
			return
		}
		log.Debug("request", "method", method(r), "route", r.Pattern, "proto", r.Proto,
			"status", rec.status, "bytes", rec.bytes, "took", time.Since(start))
	})
}

// method keeps made-up methods out of the log.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	taken  bool // its connection
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.taken = true
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
