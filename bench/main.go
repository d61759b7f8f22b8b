// Bench is the load generator: a subcommand for each question of what an inbox
// server costs and whether it holds under load. It needs Linux.
//
//	go run . all                     everything, with short settings, in a few minutes
//	go run . cycle --help            one question, thoroughly
//	go run . all --json FILE         the figures for a program, too
//
// How the figures are taken:
//
// The server is a process of its own, built from the directory above or given
// by --server, on loopback and a free port. It runs on one core and the load on
// another (with two cores or more; otherwise a note says so), but for the
// handshakes, where both use both. Bench starts what it measures and ends it.
//
// CPU is the server's time on a core, in user mode and in the kernel, from its
// process clock: what utime and stime of /proc/PID/stat hold, in nanoseconds
// instead of ticks. The kernel's work for a packet on loopback is done by who
// sends it, so a server pays for its answers and the load for its requests.
//
// Memory is the resident set, Rss of /proc/PID/smaps_rollup, with whatever
// garbage the server holds at that moment: nobody asks it to collect. It is read
// when it has stopped changing. Peak is VmHWM of /proc/PID/status.
//
// A ratio compares with a baseline that is measured in the same run, in turns
// with the server, several rounds long, because a shared machine is faster one
// minute and slower the next: each round gives a ratio, and the median of them
// counts. The baselines are processes of this program (hidden subcommands):
//
//   - the bare handler, net/http alone: it reads the body of a request and
//     answers with the headers and as many bytes as the server did, all of it
//     prepared. Once with the server's timeouts and limits, once as a plain
//     http.Server{}. It gets the very same requests.
//   - the bare relay, WebSockets alone: it passes each frame on to the partner. Relays
//     with gws, and over TLS with gorilla/websocket, do the same as their users would.
//
// The load side writes prepared bytes to sockets and parses no more of an answer
// than it must, so that it is not what limits. Every answer is checked.
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

	All        allCommand        `cmd:"" help:"All of the below, with short settings."`
	Cycle      cycleCommand      `cmd:"" help:"CPU of a message: send and receive over keep-alive HTTP/1.1, against a bare handler."`
	Handshakes handshakesCommand `cmd:"" help:"Whole WebRTC handshakes, many at once: what is lost, doubled or out of order."`
	Idle       idleCommand       `cmd:"" help:"Memory of an inbox that only exists."`
	Abandoned  abandonedCommand  `cmd:"" help:"Messages that follow an abandoned long poll."`
	Expiry     expiryCommand     `cmd:"" help:"The longest pause for others while very many inboxes expire."`
	Waiting    waitingCommand    `cmd:"" help:"What a waiting peer costs, by transport, and what it leaves behind."`
	Ledger     ledgerCommand     `cmd:"" help:"Very many messages over every transport: what is lost, doubled, out of order or misdelivered."`
	Drain      drainCommand      `cmd:"" help:"Memory while very many waits end at once, against waiting."`
	TLS        secureCommand     `cmd:"" name:"tls" help:"What a waiting peer costs over TLS, by transport and protocol."`
	Relay      relayCommand      `cmd:"" help:"CPU of a message from socket to socket, against a bare relay."`
	Redis      redisCommand      `cmd:"" help:"Two servers over one Redis: from one to the other, commands, memory, CPU against memory."`
	Stuck      stuckCommand      `cmd:"" help:"Memory that clients make the server hold who stop in the middle."`
	Guess      guessCommand      `cmd:"" help:"Wrong passwords that one address, and very many, can try."`
	Hostile    hostileCommand    `cmd:"" help:"How long others wait beside very many connections that are stuck, slow or hostile."`
	Fill       fillCommand       `cmd:"" help:"Memory that one address makes the server hold, within its limits."`
	Turn       turnCommand       `cmd:"" help:"The relay for calls: CPU of a packet against coturn, memory of an allocation, cost when idle."`
	Metrics    metricsCommand    `cmd:"" help:"What limits and metrics cost: CPU of a message against a server without, and of a scrape."`
	PeerJS     peerjsCommand     `cmd:"" name:"peerjs" help:"CPU and memory of PeerJS sockets, against peerjs-server."`

	BareHandler bareHandlerCommand `cmd:"" hidden:""`
	BareRelay   bareRelayCommand   `cmd:"" hidden:""`
	BareEcho    bareEchoCommand    `cmd:"" hidden:""`

	GwsRelay     gwsRelayCommand     `cmd:"" name:"bare-gws" hidden:""`
	GorillaRelay gorillaRelayCommand `cmd:"" name:"bare-gorilla" hidden:""`
}

// options are the flags of every subcommand.
type options struct {
	Server     string   `placeholder:"FILE" type:"existingfile" help:"Measure this binary instead of building one."`
	Source     string   `default:".." placeholder:"DIR" help:"Where to build the server from."`
	Race       bool     `help:"Build the server with the race detector: for the handshakes, not for figures."`
	ServerFlag []string `placeholder:"FLAG" sep:"none" help:"Start the server with this flag, too, as in --server-flag=--log-level=warn. Repeatable."`
	Nginx      string   `placeholder:"FILE" type:"existingfile" help:"Let clients go through this nginx, with keep-alive connections to the server."`
	JSON       string   `name:"json" placeholder:"FILE" help:"Write the figures to this file."`
}

func main() {
	// Collecting garbage here would look like pauses of the server.
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
