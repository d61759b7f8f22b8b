// Release adds to the binaries and archives that goreleaser builds:
//
//	release files               man pages, completions and changelog, into build/package
//	release packages BIN DIR    deb and rpm of a linux binary, as .goreleaser.yaml has them
//	release image DIR           the image of both binaries of a release, as an OCI archive
//	release extras DIR          the SDK, the chart and install.sh
//
// It runs in the root of the tree. VERSION in the environment is the version, GOARCH the
// architecture of BIN, and SOURCE_DATE_EPOCH the time that files have, in seconds.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	r, err := fromEnvironment()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "files":
		return r.files()
	case len(args) == 3 && args[0] == "packages":
		return r.packages(args[1], args[2])
	case len(args) == 2 && args[0] == "image":
		return r.imageOfRelease(args[1])
	case len(args) == 2 && args[0] == "extras":
		return r.extras(args[1])
	}
	return errors.New("usage: release files | packages BIN DIR | image DIR | extras DIR")
}

// A release has one version and one time.
type release struct {
	root    string // of the tree
	version string
	arch    string // in Go's words
	time    time.Time
}

func fromEnvironment() (*release, error) {
	r := &release{root: ".", version: os.Getenv("VERSION"), arch: os.Getenv("GOARCH")}
	if r.version == "" {
		return nil, errors.New("VERSION is not set, as in VERSION=1.2.3")
	}
	if r.arch == "" {
		r.arch = runtime.GOARCH
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return nil, errors.New("SOURCE_DATE_EPOCH is not a number of seconds (try: git log -1 --format=%ct)")
	}
	r.time = time.Unix(seconds, 0).UTC()
	return r, nil
}

// files writes the man pages, the completions and the changelog into build/package.
func (r *release) files() error {
	to := filepath.Join(r.root, "build", "package")
	for _, dir := range []string{"man", "completions"} {
		if err := os.RemoveAll(filepath.Join(to, dir)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	bin, err := filepath.Abs(filepath.Join(to, "inbox"))
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.release="+r.version, "-o", bin, "./cmd/inbox")
	build.Dir = r.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build inbox: %w\n%s", err, out)
	}
	page, err := exec.Command(bin, "man").Output()
	if err != nil {
		return fmt.Errorf("inbox man: %w", err)
	}
	if err := r.compress(filepath.Join(to, "man", "inbox.1.gz"), page); err != nil {
		return err
	}
	// The page of the program lists those of its commands.
	for line := range strings.Lines(string(page)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), `.BR inbox\-`)
		command, _, other := strings.Cut(command, " (1)")
		if !ok || !other {
			continue
		}
		command = strings.ReplaceAll(command, `\`, "")
		page, err := exec.Command(bin, "man", command).Output()
		if err != nil {
			return fmt.Errorf("inbox man %s: %w", command, err)
		}
		if err := r.compress(filepath.Join(to, "man", "inbox-"+command+".1.gz"), page); err != nil {
			return err
		}
	}
	for shell, name := range map[string]string{"bash": "inbox.bash", "zsh": "_inbox", "fish": "inbox.fish"} {
		script, err := exec.Command(bin, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("inbox completion %s: %w", shell, err)
		}
		// A package has the program at its place.
		script = bytes.ReplaceAll(script, []byte(bin), []byte("/usr/bin/inbox"))
		if shell == "zsh" {
			// zsh reads the file at the first Tab, and wants the words of that one, too.
			script = append(script, "_bash_complete -C /usr/bin/inbox\n"...)
		}
		if err := os.WriteFile(filepath.Join(to, "completions", name), script, 0o644); err != nil {
			return err
		}
	}
	changes, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	return r.compress(filepath.Join(to, "changelog.gz"), changes)
}

// compress writes a file the same way each time.
func (r *release) compress(name string, content []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(content); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
