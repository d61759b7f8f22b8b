// Words extracts the sentences that the prose lint does not find by itself: strings in Go,
// JavaScript and TypeScript (errors, help, names of tests), and the comments of shell scripts,
// YAML and other files whose comments begin with #.
//
//	go run ./tools/words DIR FILE...
//
// The sentences of FILE go to DIR/FILE.txt. Line numbers stay the same.
package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: words DIR FILE...")
		os.Exit(2)
	}
	for _, name := range os.Args[2:] {
		if err := extract(os.Args[1], name); err != nil {
			fmt.Fprintln(os.Stderr, "words:", err)
			os.Exit(1)
		}
	}
}

// extract writes the sentences of one source file. A file without any gets no copy.
func extract(dir, name string) error {
	source, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	find := comments
	switch filepath.Ext(name) {
	case ".go":
		find = literals
	case ".js", ".ts":
		find = quoted
	}
	lines := make([]string, strings.Count(string(source), "\n")+1)
	found := false
	find(source, func(line int, text string) {
		lines[line-1] += text + " "
		found = true
	})
	if !found {
		return nil
	}
	out := filepath.Join(dir, name+".txt")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, []byte(strings.Join(lines, "\n")), 0o644)
}

// sentence gives text a capital and a full stop, so that rules about sentences apply to
// errors and names of tests too. It returns "" for fewer than three words: a name or a value.
func sentence(text string) string {
	words := strings.Fields(text)
	if len(words) < 3 {
		return ""
	}
	text = strings.Join(words, " ")
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.ContainsAny(text[len(text)-1:], ".?!:") {
		text += "."
	}
	return text
}

// literals calls yield with each string literal of Go source and its line.
func literals(source []byte, yield func(line int, text string)) {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, 0)
	for {
		position, tok, literal := s.Scan()
		if tok == token.EOF {
			return
		}
		if tok == token.STRING {
			if text, err := strconv.Unquote(literal); err == nil {
				yield(file.Line(position), sentence(text))
			}
		}
	}
}

var quote = regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|'(?:[^'\\\\\n]|\\\\.)*'|`(?:[^`\\\\]|\\\\.)*`")

// quoted calls yield with what looks like a string of JavaScript or TypeScript, and its line.
func quoted(source []byte, yield func(line int, text string)) {
	for _, span := range quote.FindAllIndex(source, -1) {
		line := 1 + strings.Count(string(source[:span[0]]), "\n")
		yield(line, sentence(string(source[span[0]+1:span[1]-1])))
	}
}

// comments calls yield with each line that is a comment after #.
func comments(source []byte, yield func(line int, text string)) {
	for i, line := range strings.Split(string(source), "\n") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
			yield(i+1, strings.TrimPrefix(text, " "))
		}
	}
}
