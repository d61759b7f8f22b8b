package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// The help of every command fits a terminal of 80 columns.
func TestHelpFits80Columns(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	k, err := kong.New(new(cli))
	if err != nil {
		t.Fatal(err)
	}
	commands := [][]string{nil} // inbox itself
	for _, command := range k.Model.Children {
		commands = append(commands, []string{command.Name})
	}
	for _, command := range commands {
		t.Run(fmt.Sprint("inbox ", strings.Join(command, " ")), func(t *testing.T) {
			var out, errs strings.Builder
			if code := run(append(command, "--help"), &out, &errs); code != 0 || errs.Len() > 0 {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			if !strings.HasPrefix(out.String(), "Usage: inbox") {
				t.Fatalf("not a help text: %q", out.String())
			}
			for line := range strings.Lines(out.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// docs/operations.md lists every flag of the server with its variable and its default, in
// one table.
func TestSettingsAreDocumented(t *testing.T) {
	k, err := kong.New(new(cli), kong.DefaultEnvars("INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(k.Model.Children, func(n *kong.Node) bool { return n.Name == "serve" })
	var flags []string
	rows := map[string][]string{}
	_, table, _ := strings.Cut(read(t, "../../docs/operations.md"), "| flag | variable | default | meaning |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| `(\\w+)` \\| (.*?) ?\\| ").FindAllStringSubmatch(table, -1) {
		flags = append(flags, row[1])
		rows[row[1]] = row[2:]
	}
	var want []string
	for _, flag := range k.Model.Children[i].Flags {
		if flag.Hidden {
			continue
		}
		want = append(want, flag.Name)
		row := rows[flag.Name]
		if row == nil {
			continue
		}
		if !slices.Equal(flag.Envs, row[:1]) {
			t.Errorf("--%s: the variable is %s, want %s", flag.Name, row[0], flag.Envs)
		}
		def := flag.Default
		if def == "" && flag.IsBool() {
			def = "false"
		}
		if def != "" && row[1] != "`"+def+"`" {
			t.Errorf("--%s: the default is %s, want `%s`", flag.Name, row[1], def)
		}
	}
	slices.Sort(flags)
	slices.Sort(want)
	if !slices.Equal(flags, want) {
		t.Errorf("docs/operations.md lists\n%v,\nbut the flags are\n%v", flags, want)
	}
}

// An error in a command line names the help that lists its flags.
func TestErrorsNameTheHelp(t *testing.T) {
	for args, want := range map[string]string{
		"--no-such-flag":      "inbox serve --help",
		"serve --listen :x":   "inbox serve --help",
		"send":                "inbox send --help",
		"receive --follow=no": "inbox receive --help",
		"check":               "inbox check --help",
		"no-such-command":     "inbox --help",
	} {
		var out, errs strings.Builder
		code := run(strings.Fields(args), &out, &errs)
		if code != 2 || !strings.HasSuffix(errs.String(), " (see "+want+")\n") || out.Len() > 0 {
			t.Errorf("inbox %s: code %d, %q, want a line that names %s", args, code, errs.String(), want)
		}
	}
}
