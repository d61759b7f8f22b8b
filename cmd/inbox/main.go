// Command inbox is a signaling server for WebRTC: it holds the messages through which
// peers find each other. It serves the HTTP API, the demo pages and a TURN relay, and it
// can send, receive and check from the command line.
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

// cli is the command line. Every flag of serve can also be set by an environment
// variable: INBOX_ and its name. The other commands name theirs in peer.go.
type cli struct {
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Run the server. This is the default command."`
	Send        sendCommand        `cmd:"" help:"Send a message to a peer."`
	Receive     receiveCommand     `cmd:"" help:"Receive messages."`
	Check       checkCommand       `cmd:"" help:"Check that a server works for its users."`
	Setup       setupCommand       `cmd:"" help:"Turn the installed package into a public server with a certificate."`
	Healthcheck healthcheckCommand `cmd:"" help:"Check whether the local server is ready: exits with 0 or 1."`
	Completion  completionCommand  `cmd:"" completion-shell-default:"false" help:"Print a script that enables completion in a shell."`
	Man         manCommand         `cmd:"" completion-enabled:"false" hidden:"" help:"Print a manual page."`
	Version     versionCommand     `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Print the version."`
}

const description = `A temporary mailbox through which WebRTC peers find each other.

To start a server on port 3000, run 'inbox' and open http://localhost:3000/.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs the command line and returns the exit code: 0 for success, 1 for a failure, 2
// for an invalid command line or environment, or another from exitCode.
func run(args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := errors.New("help was printed")
	parser, err := kong.New(&c,
		kong.Name("inbox"),
		kong.Description(description),
		kong.DefaultEnvars("INBOX"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 80}),
		kong.Writers(stdout, stderr),
		kong.Vars{"version": "inbox " + version()},
		kong.Exit(func(int) { panic(exited) }),
	)
	if err != nil {
		panic(err) // a struct tag is invalid
	}
	if completeLine(parser) {
		return 0
	}
	var parsed *kong.Context
	if helped(exited, func() { parsed, err = parser.Parse(joinNegatives(args)) }) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "inbox: %v (see %s)\n", err, helpCommand(parser.Model, args))
		return 2
	}
	ctx := untilSignal()
	if command := parsed.Command(); strings.HasPrefix(command, "send") || strings.HasPrefix(command, "receive") {
		for _, name := range unknownVariables(os.Environ()) {
			fmt.Fprintf(stderr, "inbox: unknown setting in the environment: %s\n", name)
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

// helpCommand returns the command line that explains the flags in args.
func helpCommand(app *kong.Application, args []string) string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "inbox serve --help" // the default command
	}
	for _, command := range app.Children {
		if command.Name == args[0] && !command.Hidden {
			return "inbox " + command.Name + " --help"
		}
	}
	return "inbox --help"
}

// untilSignal returns a context that ends with the first interrupt or SIGTERM, so that
// the program can shut down. A second signal kills the process. After an interrupt the
// context's cause is errInterrupted.
func untilSignal() context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		var why error // nil for SIGTERM
		if <-signals == os.Interrupt {
			why = errInterrupted
		}
		signal.Stop(signals)
		end(why)
	}()
	return ctx
}

type streams struct{ out, err io.Writer }

// helped runs f and reports whether it printed the help, after which kong calls Exit.
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

// release is the version, set by the linker (see the Makefile).
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
