package main

import (
	"fmt"
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
