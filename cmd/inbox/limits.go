package main

import (
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

// limitFlags are what one address may do, which is an IPv4 address or the /64 of an IPv6
// address. A /48 may do 16 times as much.
type limitFlags struct {
	Limits           string     `default:"on" enum:"on,off" group:"Limits of one address" help:"Off switches off all of these, and --max-connections. A 0 switches one off."`
	LimitRequests    limit.Rate `default:"300/s,burst=3000" group:"Limits of one address" help:"Requests, and messages sent over sockets."`
	LimitInboxes     limit.Rate `default:"10/s,burst=1000" group:"Limits of one address" help:"New inboxes."`
	LimitRecipients  limit.Rate `default:"50/s,burst=3000" group:"Limits of one address" help:"Messages to peers that are not there."`
	LimitConnections int        `default:"2000" group:"Limits of one address" help:"Open connections."`
	LimitInFlight    size       `default:"16MiB" group:"Limits of one address" help:"Bytes that the server holds on their way: bodies, answers that are not read, requests that wait over HTTP/2. At least eight bodies and 512KiB."`
	LimitMemory      size       `default:"32MiB" group:"Limits of one address" help:"Bytes of the inboxes that it has opened, with all that is in them. It goes with --store memory."`
	MaxConnections   int        `default:"0" group:"Limits" help:"Connections of all clients; 0: as many as file descriptors allow."`
}

// checkClients refuses limits that make no sense.
func (c *limitFlags) checkClients() error {
	switch {
	case c.LimitConnections < 0:
		return errors.New("--limit-connections is not negative")
	case c.LimitInFlight < 0:
		return errors.New("--limit-in-flight is not negative")
	case c.LimitMemory < 0:
		return errors.New("--limit-memory is not negative")
	case c.MaxConnections < 0:
		return errors.New("--max-connections is not negative")
	}
	return nil
}

// clients returns the limits of each address.
func (c *serveCommand) clients(refusals *meter.Refusals) *limit.Clients {
	bytes := int64(c.LimitInFlight)
	if bytes > 0 {
		bytes = max(bytes, int64(leastInFlight+8*c.MaxBody))
	}
	return limit.NewClients(limit.Config{
		Requests: c.LimitRequests, Inboxes: c.LimitInboxes, Recipients: c.LimitRecipients,
		Connections: int64(c.LimitConnections), Bytes: bytes, Kept: int64(c.LimitMemory), Refusals: refusals,
	})
}

// quota is what a store asks before it opens an inbox, or nil.
func (c *limitFlags) quota(clients *limit.Clients) inbox.Quota {
	if c.LimitInboxes.Off() && c.LimitMemory == 0 {
		return nil
	}
	return clients
}

// limited answers an address that asks for too many pages.
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
		header.Set("Access-Control-Allow-Origin", "*") // as for the modules, which any page may import
		w.WriteHeader(p.Status)
		io.WriteString(w, "Too many requests from your address. Please wait a moment.\n")
	})
}
