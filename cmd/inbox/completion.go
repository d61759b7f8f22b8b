package main

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// completionCommand implements "inbox completion". The script that it prints makes the
// shell run this program with the command line so far in COMP_LINE, for completeLine to
// answer.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

func (completionCommand) Help() string {
	return `To enable completion in this session, run one of:

  source <(inbox completion bash)
  source <(inbox completion zsh)
  inbox completion fish | source

To enable it in every session, add that line to ~/.bashrc, to ~/.zshrc (after compinit) or to ~/.config/fish/config.fish.`
}

// Run prints the completion script.
func (c *completionCommand) Run(k *kong.Context) error {
	k.Exit = func(int) {} // the library exits after printing
	return (&kongcompletion.Completion{Shell: c.Shell, Code: true}).Run(k)
}

// completeLine prints the possible next words if a shell asks for completions, and
// reports whether one did.
func completeLine(parser *kong.Kong) bool {
	command, err := kongcompletion.Command(parser)
	if err != nil {
		panic(err) // a struct tag is invalid
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
