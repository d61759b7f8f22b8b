package problem

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func want(t *testing.T, where string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	for _, s := range got {
		if !slices.Contains(want, s) {
			t.Errorf("%s has %s, which is not in the catalogue", where, s)
		}
	}
	for _, s := range want {
		if !slices.Contains(got, s) {
			t.Errorf("%s lacks %s", where, s)
		}
	}
	if len(got) != len(slices.Compact(slices.Clone(got))) {
		t.Errorf("%s contains duplicates: %q", where, got)
	}
}

func codes() []string {
	all := make(map[string]bool)
	for _, p := range All {
		all[p.Code] = true
	}
	return slices.Collect(maps.Keys(all))
}

// closes formats every close code with the code and the status it stands for.
func closes() (all []string) {
	for code := range 5000 {
		if p, ok := OfClose(code); ok {
			all = append(all, fmt.Sprintf("%d %s %d", code, p.Code, p.Status))
		}
	}
	return all
}

func TestCatalogueIsConsistent(t *testing.T) {
	details := make(map[string]bool)
	for _, p := range All {
		if p.Retry != RetryStatus(p.Status) {
			t.Errorf("%s: a client that does not know the code would act differently on its status %d", p.Code, p.Status)
		}
		if p.Close >= 4000 && p.Close != 4000+p.Status && p.Code != Closed.Code {
			t.Errorf("%s: close code %d for status %d", p.Code, p.Close, p.Status)
		}
		if !strings.HasSuffix(p.Detail, ".") || details[p.Detail] {
			t.Errorf("%s: the detail is not a unique sentence: %q", p.Code, p.Detail)
		}
		details[p.Detail] = true
		if byCode, ok := OfCode(p.Code); !ok || byCode.Code != p.Code {
			t.Errorf("%s is not found by its code", p.Code)
		}
		if byClose, ok := OfClose(p.Close); ok != (p.Close != 0) || ok && byClose.Retry != p.Retry {
			t.Errorf("%s: a client would act differently on close code %d", p.Code, p.Close)
		}
	}
	for _, unknown := range []int{0, 1000, 1005, 1006, 1011, 4000, 4999} {
		if p, ok := OfClose(unknown); ok {
			t.Errorf("close code %d stands for %s", unknown, p.Code)
		}
	}
	if p, _ := OfClose(4410); p.Status != 409 || p.Code != "closed" {
		t.Errorf("close code 4410 stands for %d %s, want 409 closed", p.Status, p.Code)
	}
}

func TestProtocolMatchesCatalogue(t *testing.T) {
	protocol := read(t, "docs/protocol.md")
	var got, wanted []string
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z-]+)` \\|").FindAllStringSubmatch(protocol, -1) {
		got = append(got, row[1]+" "+row[2])
	}
	for _, p := range All {
		wanted = append(wanted, fmt.Sprint(p.Status, " ", p.Code))
	}
	want(t, "the table of errors", got, wanted)

	got = nil
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\d{4})` \\| `([a-z-]+)` (\\d{3}) \\|").FindAllStringSubmatch(protocol, -1) {
		got = append(got, strings.Join(row[1:], " "))
	}
	want(t, "the table of close codes", got, closes())

	for _, example := range regexp.MustCompile(`"detail":"([^"]+)",\s+"code":"([^"]+)"`).FindAllStringSubmatch(protocol, -1) {
		if p, _ := OfCode(example[2]); p.Detail != example[1] {
			t.Errorf("the example of %s has the detail %q, want %q", example[2], example[1], p.Detail)
		}
	}
}

func TestOpenAPIMatchesCatalogue(t *testing.T) {
	var api struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
		}
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct{ Code struct{ Examples []string } }
				} `yaml:"Problem"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "docs/openapi.yaml")), &api); err != nil {
		t.Fatal(err)
	}
	want(t, "openapi.yaml", api.Components.Schemas.Problem.Properties.Code.Examples, codes())
	for _, p := range All {
		found := p.Code == MethodNotAllowed.Code // its methods are not described
		for _, operation := range api.Paths["/inbox"] {
			_, has := operation.Responses[fmt.Sprint(p.Status)]
			found = found || has
		}
		if !found {
			t.Errorf("openapi.yaml: no operation of /inbox answers %d (%s)", p.Status, p.Code)
		}
	}
}

func TestSDKMatchesCatalogue(t *testing.T) {
	source := read(t, "web/sdk/src/errors.ts")
	_, union, _ := strings.Cut(source, "export type InboxErrorCode =")
	union, _, _ = strings.Cut(union, ";")
	own := []string{"unreachable", "timeout", "unsupported", NotInbox.Code, ProxyAuth.Code} // detected by the SDK itself
	var got []string
	for _, code := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(union, -1) {
		if !slices.Contains(own, code[1]) {
			got = append(got, code[1])
		}
	}
	want(t, "InboxErrorCode", got, codes())

	got = nil
	for _, row := range regexp.MustCompile(`(?m)^  (\d{4}): \["([a-z-]+)", (\d+)\],$`).FindAllStringSubmatch(source, -1) {
		got = append(got, strings.Join(row[1:], " "))
	}
	want(t, "CLOSES", got, closes())
}
