package main

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// completionCommand is "inbox completion". Its script makes the shell run this program
// with the command line so far in COMP_LINE, and completeLine answers.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"For which shell: bash, zsh or fish."`
}

func (completionCommand) Help() string {
	return `For this session: source <(inbox completion bash), source <(inbox completion zsh), inbox completion fish | source.

For all sessions, put that line into ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish.`
}

// Run prints the script.
func (c *completionCommand) Run(k *kong.Context) error {
	k.Exit = func(int) {} // the library exits when it has printed
	return (&kongcompletion.Completion{Shell: c.Shell, Code: true}).Run(k)
}

// completeLine prints the possible next words if a shell asks for them, and reports
// whether one did.
func completeLine(parser *kong.Kong) bool {
	command, err := kongcompletion.Command(parser)
	if err != nil {
		panic(err) // a tag in the struct is wrong
	}
	for _, node := range parser.Model.Children {
		sub := command.Sub[node.Name]
		for _, flag := range node.Flags {
			if flag.PlaceHolder == "FILE" {
				sub.GlobalFlags["--"+flag.Name] = complete.PredictFiles("*")
			}
		}
		for i, arg := range node.Positional {
			if arg.Name == "FILE" {
				sub.Args.(*kongcompletion.PositionalPredictor).Predictors[i] = complete.PredictFiles("*")
			}
		}
		if node == parser.Model.DefaultCmd {
			command.Flags = sub.GlobalFlags
		}
	}
	line := complete.New(parser.Model.Name, command)
	line.Out = parser.Stdout
	return line.Complete()
}
