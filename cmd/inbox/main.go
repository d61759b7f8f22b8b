// Command inbox is a temporary mailbox through which WebRTC peers find each
// other.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line. Every flag of serve has an environment variable, INBOX_
// and its name; those of the other commands have what peer.go says.
type cli struct {
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Run the server. This is what plain 'inbox' does."`
	Send        sendCommand        `cmd:"" help:"Send a message to a peer."`
	Receive     receiveCommand     `cmd:"" help:"Receive messages."`
	Check       checkCommand       `cmd:"" help:"Try out a server, as its users find it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a server on this machine whether it is ready. The exit code is 0 or 1."`
	Completion  completionCommand  `cmd:"" completion-shell-default:"false" help:"Print a script that completes this command line in a shell."`
	Version     versionCommand     `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Print the version."`
}

const description = `A temporary mailbox through which WebRTC peers find each other.

Without any flag it serves on port 3000: open http://localhost:3000/ and read on there.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0, 1 for what went wrong, 2 for a command line or
// an environment that makes no sense, and those of exitCode.
func run(args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := errors.New("help was printed")
	parser, err := kong.New(&c,
		kong.Name("inbox"),
		kong.Description(description),
		kong.DefaultEnvars("INBOX"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Writers(stdout, stderr),
		kong.Vars{"version": "inbox " + version()},
		kong.Exit(func(int) { panic(exited) }),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if completeLine(parser) {
		return 0
	}
	var parsed *kong.Context
	if helped(exited, func() { parsed, err = parser.Parse(joinNegatives(args)) }) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "inbox: %v (see inbox --help)\n", err)
		return 2
	}
	ctx := untilSignal()
	if command := parsed.Command(); strings.HasPrefix(command, "send") || strings.HasPrefix(command, "receive") {
		for _, name := range unknownVariables(os.Environ()) {
			fmt.Fprintf(stderr, "inbox: the variable %s is not a setting\n", name)
		}
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(streams{stdout, stderr})
	if err := parsed.Run(); err != nil {
		fmt.Fprintf(stderr, "inbox: %v\n", err)
		return exitCode(err)
	}
	return 0
}

// untilSignal returns a context that ends with the first signal, so that everything ends
// in order. The second one ends the process at once. The cause of an interrupt is
// errInterrupted.
func untilSignal() context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		var why error // of SIGTERM, none but that it is over
		if <-signals == os.Interrupt {
			why = errInterrupted
		}
		signal.Stop(signals)
		end(why)
	}()
	return ctx
}

type streams struct{ out, err io.Writer }

// helped runs f and reports whether it ended by printing the help, which kong
// does by calling its Exit.
func helped(exited error, f func()) (yes bool) {
	defer func() {
		if v := recover(); v != nil {
			if v != any(exited) {
				panic(v)
			}
			yes = true
		}
	}()
	f()
	return false
}

type versionCommand struct{}

func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "inbox", version())
	return err
}

// release is set by the linker (see the Makefile).
var release string

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
