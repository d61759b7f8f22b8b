package main

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/problem"
)

// limitFlags bound what one address may do. An address is an IPv4 address or an IPv6 /64.
// A /48 may do 16 times as much.
type limitFlags struct {
	Limits           string     `default:"on" enum:"on,off" group:"Limits of one address" help:"off disables all limits per address, and --max-connections. To disable one limit, set it to 0."`
	LimitRequests    limit.Rate `default:"300/s,burst=3000" group:"Limits of one address" help:"Requests, and messages sent over sockets."`
	LimitInboxes     limit.Rate `default:"10/s,burst=1000" group:"Limits of one address" help:"New inboxes."`
	LimitRecipients  limit.Rate `default:"50/s,burst=3000" group:"Limits of one address" help:"Messages to peers without an inbox."`
	LimitCopies      limit.Rate `default:"20000/s,burst=200000" group:"Limits of one address" help:"Copies of publications for the subscribers of their topics. Beyond this rate, the server pauses reading from the publisher."`
	LimitConnections int        `default:"2000" group:"Limits of one address" help:"Open connections."`
	LimitInFlight    size       `default:"16MiB" group:"Limits of one address" help:"Bytes in flight: bodies, unread responses, and waiting HTTP/2 requests. At least eight bodies and 512KiB."`
	LimitMemory      size       `default:"32MiB" group:"Limits of one address" help:"Bytes in the inboxes that the address opened. Only with --store memory."`
	MaxConnections   int        `default:"0" group:"Limits" help:"Connections of all clients; 0: as many as file descriptors allow."`
}

// checkClients rejects invalid limits.
func (c *limitFlags) checkClients() error {
	return cmp.Or(
		atLeast(0, "--limit-connections", c.LimitConnections),
		atLeast(0, "--limit-in-flight", c.LimitInFlight),
		atLeast(0, "--limit-memory", c.LimitMemory),
		atLeast(0, "--max-connections", c.MaxConnections),
	)
}

// clients returns the limits per address.
func (c *serveCommand) clients(refusals *meter.Refusals) *limit.Clients {
	bytes := int64(c.LimitInFlight)
	if bytes > 0 {
		bytes = max(bytes, int64(minInFlight+8*c.MaxBody))
	}
	return limit.NewClients(limit.Config{
		Requests: c.LimitRequests, Inboxes: c.LimitInboxes, Recipients: c.LimitRecipients, Copies: c.LimitCopies,
		Connections: int64(c.LimitConnections), Bytes: bytes, Kept: int64(c.LimitMemory), Refusals: refusals,
	})
}

// quota returns what a store consults before it opens an inbox, or nil.
func (c *limitFlags) quota(clients *limit.Clients) inbox.Quota {
	if c.LimitInboxes.Off() && c.LimitMemory == 0 {
		return nil
	}
	return clients
}

// limited refuses requests for pages from an address that exceeds --limit-requests.
func limited(clients *limit.Clients, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := clientaddr.Of(r.RemoteAddr)
		err := clients.Request(client)
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		if !clients.Listens(client) {
			panic(http.ErrAbortHandler)
		}
		p, _ := errors.AsType[problem.Problem](err)
		header := w.Header()
		header.Set("Retry-After", strconv.Itoa(p.Seconds()))
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("Access-Control-Allow-Origin", "*") // like the modules, which any page may import
		w.WriteHeader(p.Status)
		io.WriteString(w, "Too many requests from your address. Please wait a moment.\n")
	})
}
