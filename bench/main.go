// Bench measures an inbox server: what it costs and whether it stays correct under load.
// Each measurement is a subcommand. It needs Linux.
//
//	go run . all                     everything, with short settings, in a few minutes
//	go run . cycle --help            one measurement, thoroughly
//	go run . all --json FILE         also write the figures as JSON
//
// How the figures are taken:
//
// The server is a separate process, built from the parent directory or given by --server,
// and listens on a free port of loopback. It runs on one core and the load on another. With
// a single core they share it, and a note says so. In the handshakes, server and load share
// two cores. Bench starts and stops everything that it measures.
//
// CPU is the server's time on a core, in user mode and in the kernel, from its process
// clock. This is the sum of utime and stime in /proc/PID/stat, in nanoseconds instead of
// ticks. On loopback, the sender of a packet pays for the kernel's work, so the server pays
// for its responses and the load for its requests.
//
// Memory is the resident set, Rss in /proc/PID/smaps_rollup, including any garbage that the
// server has not collected. It is read when it has stopped changing. The peak is VmHWM in
// /proc/PID/status.
//
// A ratio compares the server with a baseline that is measured in the same run, in
// alternating rounds, since the speed of a shared machine changes from minute to minute.
// Each round gives a ratio, and their median counts. The baselines are processes of this
// program (hidden subcommands):
//
//   - The bare handler uses only net/http. It reads the body of a request and responds with
//     the same headers and as many bytes as the server, all of it prepared. It runs once
//     with the server's timeouts and limits, and once as a plain http.Server{}. It gets the
//     same requests as the server.
//   - The bare relay uses only WebSockets. It forwards each frame to the partner. Relays
//     built with gws, and over TLS with gorilla/websocket, do the same in the usual way.
//   - The bare fan uses only WebSockets too. It forwards each frame to every client.
//
// The load writes prepared bytes to sockets and parses only what it needs of a response, so
// that it is not the bottleneck. It checks every response.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	options

	All        allCommand        `cmd:"" help:"Run everything below with short settings."`
	Cycle      cycleCommand      `cmd:"" help:"CPU per message: send and receive over keep-alive HTTP/1.1, against a bare handler."`
	Handshakes handshakesCommand `cmd:"" help:"Complete WebRTC handshakes, many concurrently: lost, duplicated and reordered messages."`
	Idle       idleCommand       `cmd:"" help:"Memory of an idle inbox."`
	Abandoned  abandonedCommand  `cmd:"" help:"Messages sent after a peer abandoned its long poll."`
	Expiry     expiryCommand     `cmd:"" help:"Longest pause for others while very many inboxes expire."`
	Waiting    waitingCommand    `cmd:"" help:"Cost of a waiting peer, by transport, and what remains afterwards."`
	Ledger     ledgerCommand     `cmd:"" help:"Very many messages over every transport: lost, duplicated, reordered and misdelivered messages."`
	Drain      drainCommand      `cmd:"" help:"Memory while very many waits end at once, against waiting."`
	TLS        secureCommand     `cmd:"" name:"tls" help:"Cost of a waiting peer over TLS, by transport and protocol."`
	Relay      relayCommand      `cmd:"" help:"CPU per message from socket to socket, against a bare relay."`
	Redis      redisCommand      `cmd:"" help:"Two servers over one Redis: latency, commands, memory, and CPU against memory."`
	Stuck      stuckCommand      `cmd:"" help:"Memory used by clients that stop in the middle of a request or response."`
	Rooms      roomsCommand      `cmd:"" help:"Very many joins: events that are missing or out of order, and CPU per join."`
	Guess      guessCommand      `cmd:"" help:"Wrong passwords that one address, and very many, can try."`
	Hostile    hostileCommand    `cmd:"" help:"How long others wait next to very many stuck, slow or hostile connections."`
	Fill       fillCommand       `cmd:"" help:"Memory that one address can fill within its limits."`
	Turn       turnCommand       `cmd:"" help:"The relay for calls: CPU per packet against coturn, memory per allocation, idle cost."`
	Metrics    metricsCommand    `cmd:"" help:"Cost of limits and metrics: CPU per message against a server without them, and per scrape."`
	PeerJS     peerjsCommand     `cmd:"" name:"peerjs" help:"CPU and memory of PeerJS sockets, against peerjs-server."`
	Topics     topicsCommand     `cmd:"" help:"CPU and memory of y-webrtc and WebTorrent clients, against their servers."`

	BareHandler bareHandlerCommand `cmd:"" hidden:""`
	BareRelay   bareRelayCommand   `cmd:"" hidden:""`
	BareEcho    bareEchoCommand    `cmd:"" hidden:""`
	BareFan     bareFanCommand     `cmd:"" hidden:""`
	BareCrowd   bareCrowdCommand   `cmd:"" hidden:""`

	GwsRelay     gwsRelayCommand     `cmd:"" name:"bare-gws" hidden:""`
	GorillaRelay gorillaRelayCommand `cmd:"" name:"bare-gorilla" hidden:""`
}

// options are the flags of every subcommand.
type options struct {
	Server     string   `placeholder:"FILE" type:"existingfile" help:"Measure this binary instead of building one."`
	Source     string   `default:".." placeholder:"DIR" help:"Directory to build the server from."`
	Race       bool     `help:"Build the server with the race detector: for the handshakes, not for figures."`
	ServerFlag []string `placeholder:"FLAG" sep:"none" help:"Start the server with this flag too, as in --server-flag=--log-level=warn. Repeatable."`
	Nginx      string   `placeholder:"FILE" type:"existingfile" help:"Path of nginx: connect clients through it, with keep-alive connections to the server."`
	JSON       string   `name:"json" placeholder:"FILE" help:"Write the figures to this file."`
}

func main() {
	// Garbage collection in this process would look like pauses of the server.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(2 << 30)

	var c cli
	parsed := kong.Parse(&c, kong.Name("bench"), kong.UsageOnError(),
		kong.Description("Measures an inbox server."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}))
	if strings.HasPrefix(parsed.Command(), "bare-") {
		parsed.FatalIfErrorf(parsed.Run())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{ctx: ctx, options: c.options}
	err := errors.Join(parsed.Run(e), e.finish())
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}
