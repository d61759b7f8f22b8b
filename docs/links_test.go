// Package docs_test checks the documents against each other and against the code.
package docs_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`]*`")
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	markup  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// markdown returns the text of every document of the repository, by its path from the top.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		skipped := []string{"node_modules", "build", ".git", "dist", "testdata"}
		if entry.IsDir() && slices.Contains(skipped, entry.Name()) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		texts[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// anchors returns the fragments that lead to headings of a document, as GitHub makes them.
func anchors(text string) []string {
	var all []string
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, markup.ReplaceAllString(match[1], "$1"))
		for first, n := slug, 1; slices.Contains(all, slug); n++ {
			slug = fmt.Sprintf("%s-%d", first, n)
		}
		all = append(all, slug)
	}
	return all
}

func TestEveryLinkInTheDocumentsLeadsSomewhere(t *testing.T) {
	texts := markdown(t)
	if len(texts) < 10 {
		t.Fatalf("%d documents", len(texts))
	}
	for name, text := range texts {
		text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: %s: %v", name, match[1], err)
			}
			if err != nil || target.Scheme != "" {
				continue
			}
			path := name
			if target.Path != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target.Path))
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %s: there is no %s", name, match[1], path)
			} else if target.Fragment != "" && !slices.Contains(anchors(texts[path]), target.Fragment) {
				t.Errorf("%s: %s: %s has no such heading", name, match[1], path)
			}
		}
	}
}

// Readers find the first result on the first screen of a guide, and every document from the
// index.
func TestTheIndexListsEveryDocument(t *testing.T) {
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(documents, "openapi.yaml") {
		if name != "README.md" && !strings.Contains(string(index), "("+name) {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}
