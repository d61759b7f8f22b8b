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

// logRequests logs each request at debug level. It logs nothing that a peer chose: no id,
// recipient, path, query or header. If clients is set, it logs the client's address.
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
			log.Debug("request waits", "method", method(r), "route", r.Pattern, "proto", r.Proto)
			return
		}
		log.Debug("request", "method", method(r), "route", r.Pattern, "proto", r.Proto,
			"status", rec.status, "bytes", rec.bytes, "took", time.Since(start))
	})
}

// method returns the request's method, or "other" for one that is not standard.
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
	taken  bool // the handler has taken over the connection
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

// Unwrap supports http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
