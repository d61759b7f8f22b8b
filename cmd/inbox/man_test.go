package main

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Every command has a manual page with all its flags, and groff finds no mistake in it.
func TestManPages(t *testing.T) {
	k, err := kong.New(new(cli), kong.Name("inbox"), kong.DefaultEnvars("INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	groff, _ := exec.LookPath("groff")
	for _, node := range append([]*kong.Node{k.Model.Node}, k.Model.Children...) {
		args := []string{"man"}
		if node != k.Model.Node {
			args = append(args, node.Name)
		}
		var page bytes.Buffer
		code := run(args, &page, io.Discard)
		if node.Hidden {
			if code != 2 {
				t.Errorf("%v: the page of a hidden command is printed", args)
			}
			continue
		}
		if code != 0 || !strings.HasPrefix(page.String(), ".TH ") {
			t.Errorf("%v: code %d, %.40q", args, code, page.String())
		}
		for _, flag := range node.Flags {
			name := `--` + flag.Name
			if got := strings.Contains(page.String(), manText(name)+`\fR`); got == flag.Hidden {
				t.Errorf("%v: %s is in the page: %v", args, name, got)
			}
		}
		if groff == "" {
			continue
		}
		cmd := exec.Command(groff, "-man", "-Tutf8", "-Kutf8", "-ww", "-z")
		cmd.Stdin = &page
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	if code := run([]string{"man", "nothing"}, io.Discard, io.Discard); code != 2 {
		t.Errorf("the page of no command: code %d", code)
	}
}
