package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCommand is "inbox completion". The scripts are made from the same
// model as the command line itself, and do not run the program.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"For which shell: bash, zsh or fish."`
}

func (completionCommand) Help() string {
	return `For this session: source <(inbox completion bash), source <(inbox completion zsh), inbox completion fish | source.

For all sessions, put it where the shell looks:
  bash: ~/.local/share/bash-completion/completions/inbox
  zsh: a file _inbox in a directory of $fpath
  fish: ~/.config/fish/completions/inbox.fish`
}

// Run prints the script.
func (c *completionCommand) Run(k *kong.Kong, s streams) error {
	write := map[string]func(io.Writer, []command){"bash": writeBash, "zsh": writeZsh, "fish": writeFish}[c.Shell]
	var out strings.Builder
	write(&out, commandsOf(k.Model))
	_, err := io.WriteString(s.out, out.String())
	return err
}

// command is what there is to complete of one.
type command struct {
	name, help string
	variables  []string // of the environment
	flags      []option
	args       option // positional ones
	standard   bool   // if none is named
}

// option is a flag or an argument.
type option struct {
	name, help string
	short      rune
	takes      bool     // a value
	values     []string // which there are
	file       bool     // it names a file
}

func commandsOf(model *kong.Application) []command {
	var all []command
	for _, node := range model.Children {
		c := command{name: node.Name, help: node.Help, standard: node == model.DefaultCmd}
		for _, group := range node.AllFlags(true) {
			for _, flag := range group {
				c.flags = append(c.flags, optionOf(flag))
				c.variables = append(c.variables, flag.Envs...)
			}
		}
		for _, arg := range node.Positional {
			c.args = option{name: arg.Name, takes: true, values: valuesOf(arg), file: !isEnum(arg)}
		}
		all = append(all, c)
	}
	return all
}

func optionOf(flag *kong.Flag) option {
	help, _, _ := strings.Cut(flag.Help, ". ")
	return option{
		name: flag.Name, short: flag.Short, help: strings.TrimSuffix(help, "."),
		takes: !flag.IsBool(), values: valuesOf(flag.Value), file: flag.PlaceHolder == "FILE",
	}
}

func isEnum(v *kong.Value) bool { return v.Enum != "" }

func valuesOf(v *kong.Value) []string {
	if !isEnum(v) {
		return nil
	}
	return strings.Split(v.Enum, ",")
}

func (c command) words() string {
	var words []string
	for _, f := range c.flags {
		words = append(words, "--"+f.name)
	}
	return strings.Join(words, " ")
}

func writeBash(w io.Writer, commands []command) {
	var names []string
	standard := ""
	for _, c := range commands {
		names = append(names, c.name)
		if c.standard {
			standard = c.name
		}
	}
	fmt.Fprintf(w, `# inbox: completion for bash
_inbox() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		%s) command=$word; break ;;
		esac
	done
	COMPREPLY=()
	case ${command:-%s}:$prev in
`, strings.Join(names, " | "), standard)
	for _, c := range commands {
		for _, f := range c.flags {
			if !f.takes {
				continue
			}
			pattern := fmt.Sprintf("%s:--%s", c.name, f.name)
			switch {
			case f.values != nil:
				fmt.Fprintf(w, "\t%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", pattern, strings.Join(f.values, " "))
			case f.file:
				fmt.Fprintf(w, "\t%s) compopt -o default; return ;;\n", pattern)
			default:
				fmt.Fprintf(w, "\t%s) return ;;\n", pattern)
			}
		}
	}
	fmt.Fprint(w, "\tesac\n\tcase $command:$cur in\n")
	for _, c := range commands {
		pattern := c.name + ":-*"
		if c.standard {
			pattern += " | :-*"
		}
		fmt.Fprintf(w, "\t%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", pattern, c.words())
		switch {
		case c.args.values != nil:
			fmt.Fprintf(w, "\t%s:*) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n", c.name, strings.Join(c.args.values, " "))
		case c.args.file:
			fmt.Fprintf(w, "\t%s:*) compopt -o default ;;\n", c.name)
		}
	}
	fmt.Fprintf(w, "\t:*) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n\tesac\n}\ncomplete -F _inbox inbox\n", strings.Join(names, " "))
}

func writeZsh(w io.Writer, commands []command) {
	fmt.Fprint(w, "#compdef inbox\n# inbox: completion for zsh\n_inbox() {\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range commands {
		fmt.Fprintf(w, "\t\t%s\n", quote(c.name+":"+c.help))
	}
	fmt.Fprint(w, "\t)\n\tlocal command=${words[2]}\n\tcase $command in\n")
	for _, c := range commands {
		pattern := c.name
		if c.standard {
			pattern += " | -*"
		}
		fmt.Fprintf(w, "\t%s)\n\t\t[[ $command == -* ]] || { shift words; (( CURRENT-- )); }\n\t\t_arguments", pattern)
		for _, f := range c.flags {
			name, value := "--"+f.name, ""
			if f.takes {
				name += "="
				value = ":" + f.name + ":" + zshValue(f)
			}
			fmt.Fprintf(w, " \\\n\t\t\t%s", quote(name+"["+zshText.Replace(f.help)+"]"+value))
		}
		if c.args.takes {
			fmt.Fprintf(w, " \\\n\t\t\t%s", quote("1:"+c.args.name+":"+zshValue(c.args)))
		}
		fmt.Fprint(w, "\n\t\t;;\n")
	}
	fmt.Fprint(w, "\t*) _describe command commands ;;\n\tesac\n}\n")
	fmt.Fprint(w, "if [[ ${funcstack[1]} == _inbox ]]; then\n\t_inbox \"$@\"\nelse\n\tcompdef _inbox inbox\nfi\n")
}

var zshText = strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)

func zshValue(o option) string {
	switch {
	case o.values != nil:
		return "(" + strings.Join(o.values, " ") + ")"
	case o.file:
		return "_files"
	}
	return " "
}

func writeFish(w io.Writer, commands []command) {
	fmt.Fprint(w, "# inbox: completion for fish\ncomplete -c inbox -f\n")
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	none := "not __fish_seen_subcommand_from " + strings.Join(names, " ")
	for _, c := range commands {
		fmt.Fprintf(w, "complete -c inbox -n %s -a %s -d %s\n", quote(none), c.name, quote(c.help))
	}
	for _, c := range commands {
		when := "__fish_seen_subcommand_from " + c.name
		if c.standard {
			when += "; or " + none
		}
		for _, f := range c.flags {
			fmt.Fprintf(w, "complete -c inbox -n %s -l %s", quote(when), f.name)
			if f.short != 0 {
				fmt.Fprintf(w, " -s %c", f.short)
			}
			switch {
			case f.values != nil:
				fmt.Fprintf(w, " -x -a %s", quote(strings.Join(f.values, " ")))
			case f.file:
				fmt.Fprint(w, " -r -F")
			case f.takes:
				fmt.Fprint(w, " -x")
			}
			fmt.Fprintf(w, " -d %s\n", quote(f.help))
		}
		switch {
		case c.args.values != nil:
			fmt.Fprintf(w, "complete -c inbox -n %s -a %s\n", quote(when), quote(strings.Join(c.args.values, " ")))
		case c.args.file:
			fmt.Fprintf(w, "complete -c inbox -n %s -F\n", quote(when))
		}
	}
}

// quote is for all three shells.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'" }
