package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"

	"inbox/inboxhttp"
	"inbox/internal/flight"
	"inbox/internal/server"
	"inbox/internal/turncred"
	"inbox/peerjs"
	"inbox/topichttp"
)

// serveCommand is the configuration of a server. Its fields are the flags.
type serveCommand struct {
	listenFlags
	BasePath string `default:"/" group:"Addresses" help:"Serve everything below this path, as in /signal/."`

	certificateFlags

	proxyFlags

	AllowOrigin []string `default:"*" sep:"," group:"Addresses" help:"Origins whose pages may use this server, as in https://example.com or https://*.example.com. Repeatable."`

	PeerJS          bool   `name:"peerjs" default:"true" group:"PeerJS" help:"Serve PeerJS clients. --peerjs=false turns this off."`
	PeerJSKey       string `name:"peerjs-key" default:"peerjs" group:"PeerJS" help:"Key that PeerJS clients must send."`
	PeerJSDiscovery bool   `name:"peerjs-discovery" group:"PeerJS" help:"Let anyone list the ids of all PeerJS peers."`
	PeerJSHeld      size   `name:"peerjs-held" default:"0" group:"PeerJS" help:"Bytes of messages held for PeerJS peers that are not connected yet, in total; 0: a sixteenth of --max-memory."`

	topicFlags
	iceFlags
	turnFlags

	InboxTTL      time.Duration `name:"inbox-ttl" default:"60s" group:"Limits" help:"How long an inbox lives after its owner's last request."`
	InboxCapacity int           `default:"100" group:"Limits" help:"Messages per inbox."`
	InboxBytes    size          `default:"1MiB" group:"Limits" help:"Bytes of all messages in one inbox."`
	RoomMembers   int           `default:"64" group:"Limits" help:"Members of one room, at most 1000."`
	RoomsPerPeer  int           `default:"16" group:"Limits" help:"Rooms that one peer can be in, at most 1000."`
	MaxBody       size          `default:"64KiB" group:"Limits" help:"Bytes per message."`
	MaxInboxes    int           `default:"1000000" group:"Limits" help:"Inboxes on this server."`
	MaxMemory     size          `default:"1GiB" group:"Limits" help:"Bytes of all inboxes, messages and keys on this server."`
	MaxInFlight   size          `default:"0" group:"Limits" help:"Bytes of bodies and responses in flight; 0: an eighth of the memory."`
	MaxSlow       size          `default:"0" group:"Limits" help:"Bytes of slowly arriving messages of all clients, beyond 8KiB each; 0: 1/256 of --max-in-flight, at least 2MiB."`
	MaxWait       time.Duration `default:"25s" group:"Limits" help:"Longest wait of a long poll."`

	limitFlags
	guardFlags

	Store             string `default:"memory" group:"Running" help:"Where inboxes live: memory, or redis://[user:password@]host[:port] (rediss:// for TLS), which several servers can share. Separate the hosts of a Cluster by commas; add ?master_set=NAME for Sentinels. A password is safer in the environment."`
	RedisPrefix       string `default:"inbox:" group:"Running" help:"Prefix of every key and channel in Redis."`
	RedisCA           string `name:"redis-ca" type:"path" placeholder:"FILE" group:"Running" help:"With rediss: CA certificates in PEM format to verify Redis with, instead of the system's roots."`
	RedisCert         string `type:"path" placeholder:"FILE" group:"Running" help:"With rediss: client certificate chain in PEM format. Reloaded when the file changes."`
	RedisKey          string `type:"path" placeholder:"FILE" group:"Running" help:"Private key of --redis-cert in PEM format."`
	RedisPasswordFile string `type:"path" placeholder:"FILE" group:"Running" help:"File with the password of Redis. A trailing line break is ignored. Or set $$INBOX_REDIS_PASSWORD. In the URL, # / ? % @ must be percent-encoded."`
	RedisWaitReplicas int    `default:"0" placeholder:"N" group:"Running" help:"Wait until N replicas have the message before answering a send."`
	PepperFile        string `type:"path" placeholder:"FILE" group:"Running" help:"With redis: file with the secret key for hashing passwords and ids, at least 32 random bytes. All servers need the same."`
	SecretFile        string `type:"path" hidden:"" help:"Old name of --pepper-file."`

	Snapshot string        `type:"path" placeholder:"FILE" group:"Running" help:"Save all inboxes to this file on exit, and load it on start."`
	Drain    time.Duration `default:"10s" group:"Running" help:"How long to wait for open requests on exit."`

	watchFlags

	configFlags

	LogFormat string `default:"text" enum:"text,json" group:"Running" help:"Format of the log on standard error: text or json."`
	LogLevel  level  `default:"info" group:"Running" help:"debug (a line per request), info, warn or error."`
}

// Validate is called by kong. It returns the first mistake in the flags.
func (c *serveCommand) Validate() error {
	if err := cmp.Or(c.checkLimits(), c.checkRedis(), c.checkListen(), c.checkProxies(), c.checkICE(), c.checkTurn(), c.checkMetrics(), c.checkClients(), c.guardFlags.check(), c.topicFlags.check(), c.checkTLS(),
		atLeast(time.Second, "--inbox-ttl", c.InboxTTL), atLeast(time.Second, "--max-wait", c.MaxWait),
		atLeast(0, "--drain", c.Drain), atLeast(0, "--redis-wait-replicas", c.RedisWaitReplicas)); err != nil {
		return err
	}
	switch {
	case max(c.InboxTTL, c.MaxWait, c.Drain) > 365*24*time.Hour:
		return errors.New("--inbox-ttl, --max-wait and --drain must be at most a year (8760h)")
	case !strings.HasPrefix(c.BasePath, "/") || strings.TrimSuffix(path.Clean(c.BasePath), "/") != strings.TrimSuffix(c.BasePath, "/") ||
		strings.ContainsAny(c.BasePath, "{}?#% ") || strings.ContainsFunc(c.BasePath, unicode.IsControl):
		return errors.New("--base-path must be a plain path that starts with /")
	case peerjs.CheckKey(c.PeerJSKey) != nil:
		return fmt.Errorf("--peerjs-key: %w", peerjs.CheckKey(c.PeerJSKey))
	case !strings.HasPrefix(c.Store, "rediss://") && (c.RedisCA != "" || c.RedisCert != "" || c.RedisKey != ""):
		return errors.New("--redis-ca, --redis-cert and --redis-key require --store rediss://")
	case (c.RedisCert == "") != (c.RedisKey == ""):
		return errors.New("--redis-cert and --redis-key require each other")
	case len(c.AllowOrigin) == 0:
		return errors.New("--allow-origin is empty: use * to allow all origins")
	}
	if err := inboxhttp.CheckOrigins(c.AllowOrigin); err != nil {
		return fmt.Errorf("--allow-origin: %w", err)
	}
	return nil
}

// Run serves until ctx ends, then drains and saves the snapshot.
func (c *serveCommand) Run(ctx context.Context, s streams) (err error) {
	// The reader of the log may go away, as when journald restarts. That must not end the
	// server and its inboxes.
	signal.Ignore(syscall.SIGPIPE)
	log := c.logger(s.err)
	c.logConfig(log)
	c.warn(log)
	if c.Limits == "off" {
		c.limitFlags, c.guardFlags = limitFlags{}, guardFlags{}
	}
	for _, name := range unknownVariables(os.Environ()) {
		log.Warn("unknown setting in the environment: see inbox serve --help", "name", name)
	}
	certs, err := c.certificates(log)
	if err != nil {
		return err
	}
	// Take the port first, since reading the snapshot consumes it.
	listeners, err := c.listen(ctx, log)
	if err != nil {
		return err
	}
	unlock, err := c.lockSnapshot(ctx, log)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer unlock()
	defer closeAll(listeners)
	plain, err := c.listenHTTP(ctx, log)
	if err != nil {
		return err
	}
	if plain != nil {
		defer plain.Close()
	}
	watched, err := c.watch(ctx, log)
	if err != nil {
		return err
	}
	defer watched.close()
	clients := c.clients(watched.refusals)
	store, err := c.openStore(ctx, c.quota(clients), watched, log)
	if err != nil {
		return err
	}
	store.Store = c.guard(watched.count(store.Store), watched.refusals)
	if err := certs.open(c, store, listeners, plain, log); err != nil {
		return err
	}
	memory := available()
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(memory / 10 * 9)
	}
	inFlight := flight.NewShared(cmp.Or(int64(c.MaxInFlight), inFlightLimit(memory)), clients)
	if c.MaxSlow > 0 {
		inFlight.BoundSlow(int64(c.MaxSlow))
	}
	proxies, err := c.proxies()
	if err != nil {
		return err
	}
	authority := turncred.FromPepper(store.pepper.Key())
	turn, other, err := c.turnServer(authority, log)
	if err != nil {
		return err
	}
	if turn != nil {
		defer turn.Close()
	}
	srv := server.New(server.Config{
		TLS: certs.config, MaxWait: c.MaxWait, Log: log, Proxies: proxies, Other: other,
		MaxConnections: c.MaxConnections, Clients: clients, Refusals: watched.refusals,
		Beneath: func(conn net.Conn) net.Conn { return &plainConn{Conn: conn, api: c.basePath() + "inbox"} },
	})
	own := c.listenTurn(ctx, turn, authority, log)
	own.trusted = c.trusted(certs)
	iceServers, err := c.iceServers(own)
	if err != nil {
		return err
	}
	calls := c.counts()
	handler, err := inboxhttp.New(inboxhttp.Config{
		Store: store, Authenticator: store.pepper, InFlight: inFlight, Lot: srv.Lot,
		MaxBody: int(c.MaxBody), MaxWait: c.MaxWait, MaxMessages: c.InboxCapacity,
		AllowOrigins: c.AllowOrigin, Log: log, Clients: clients, Refusals: watched.refusals, Meter: watched.meter,
		ICEServers: iceServers, ICEPublic: c.ICEPublic, Outcomes: calls,
	})
	if err != nil {
		return err
	}
	peers, err := c.peerJS(peerjs.Config{
		Store: store, Pepper: store.pepper, InFlight: inFlight, Lot: srv.Lot, Log: log, Clients: clients, Refusals: watched.refusals, Meter: watched.meter,
	})
	if err != nil {
		return err
	}
	rooms, err := c.topicHandler(topichttp.Config{
		Topics: store.topics, InFlight: inFlight, Lot: srv.Lot, Log: log, Clients: clients, Refusals: watched.refusals, Meter: watched.meter,
	})
	if err != nil {
		return err
	}
	if err := srv.Listen(listeners...); err != nil {
		return err
	}
	// From here on only serving itself can fail.
	if err := store.served(); err != nil {
		return err
	}

	var background sync.WaitGroup
	running, stop := context.WithCancel(context.Background())
	background.Go(func() { store.run(running) })
	background.Go(func() { store.topics.Run(running) })
	background.Go(func() { returnMemory(running) })
	background.Go(func() { logRefusals(running, watched.refusals, log) })
	background.Go(func() { summarize(running, calls, log) })
	if peers != nil {
		background.Go(func() { peers.Run(running) })
	}
	if turn != nil {
		background.Go(func() { turn.Run(running) })
	}
	watched.add(serverFamilies(srv, inFlight, func() bool { return store.ready() && !handler.Draining() })...)
	watched.add(peerFamilies(peers)...)
	watched.add(store.topics.families...)
	watched.add(memberFamilies(rooms)...)
	watched.add(certificateFamilies(certs.expiries)...)
	watched.add(outcomeFamilies(calls)...)
	watched.add(relayFamilies(turn)...)
	background.Go(func() { watched.run(running, c.Pprof, log) })
	defer background.Wait()
	defer stop()

	srv.Handle(logRequests(log, c.LogClients, c.withHSTS(c.withTopics(rooms, routes(c.basePath(), handler, peers, store.ready, clients)))))
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	defer c.serveHTTP(plain, listeners, certs, log)()
	defer certs.run()() // before the store ends
	c.announce(log, listeners)
	notify(log, daemon.SdNotifyReady)

	select {
	case err = <-served: // does not happen by itself; the inboxes are saved all the same
	case <-ctx.Done():
		notify(log, daemon.SdNotifyStopping)
		srv.End(c.ending(ctx, handler, peers, rooms))
	}
	if err = errors.Join(err, store.ended()); err == nil {
		log.Info("stopped")
	}
	return err
}

// peerJS returns the handler for PeerJS clients, or nil with --peerjs=false.
func (c *serveCommand) peerJS(p peerjs.Config) (*peerjs.Handler, error) {
	if !c.PeerJS {
		return nil, nil
	}
	p.Key, p.Discovery, p.AllowOrigins = c.PeerJSKey, c.PeerJSDiscovery, c.AllowOrigin
	p.MaxHeld = max(1, c.maxHeld())
	p.MaxMessage = min(max(int(c.MaxBody), peerjs.DefaultMaxMessage), int(c.InboxBytes))
	return peerjs.New(p)
}

// ending describes the shutdown. The server ends the requests that wait and keeps responding
// for a fifth of --drain. PeerJS clients do not reconnect by themselves, so they are
// disconnected last and one by one, together with the clients of topics.
//
// An interrupt comes from a person at a terminal, where nothing else takes over the load:
// then the server closes its port immediately.
func (c *serveCommand) ending(ctx context.Context, h *inboxhttp.Handler, p *peerjs.Handler, rooms *topichttp.Handler) server.Ending {
	e := server.Ending{Within: c.Drain, Begin: h.Drain, Notice: c.Drain / 5}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		e.Notice = 0
	}
	e.Last = func(over time.Duration) {
		if p != nil {
			p.Drain(over)
		}
		if rooms != nil {
			rooms.Drain(over)
		}
	}
	return e
}

func (c *serveCommand) basePath() string {
	return strings.TrimSuffix(c.BasePath, "/") + "/"
}

func (c *serveCommand) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel.Level, ReplaceAttr: durationsAsText}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// durationsAsText makes JSON logs contain durations as "10s" instead of numbers without a
// unit.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
