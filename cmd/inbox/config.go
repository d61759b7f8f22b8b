package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// configFlags select the file with the server's settings.
type configFlags struct {
	Config string `type:"path" placeholder:"FILE" group:"Running" help:"Read settings from this YAML file, a line per flag, as in 'max-body: 64KiB'. Flags and variables override it."`
}

// maxConfig bounds the size of a configuration file, in bytes. A file with every flag and
// its help takes a tenth of it.
const maxConfig = 256 << 10

// BeforeResolve reads the file of --config. kong calls it after reading the command line
// and the environment. It returns the first mistake in the file, with its line.
func (c *serveCommand) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	flags := trace.Command.Flags
	i := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == "config" })
	name, _ := ctx.FlagValue(flags[i]).(string)
	if name == "" {
		return nil
	}
	settings, err := readConfig(name, flags)
	if err != nil {
		return err
	}
	ctx.AddResolver(settings)
	return nil
}

// logConfig logs the name of the configuration file.
func (c *configFlags) logConfig(log *slog.Logger) {
	if c.Config != "" {
		log.Info("settings read", "file", c.Config)
	}
}

// fileSettings maps the names of flags to their values in a configuration file.
type fileSettings map[string]string

// Validate implements [kong.Resolver]. readConfig has already reported all mistakes.
func (fileSettings) Validate(*kong.Application) error { return nil }

// Resolve implements [kong.Resolver]. Environment variables override the file.
func (s fileSettings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := s[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	return value, nil
}

func isSet(variable string) bool {
	_, set := os.LookupEnv(variable)
	return set
}

// readConfig returns the settings in a file. It checks that each is one of flags and has
// a valid value. Errors start with the file's name and the line.
func readConfig(name string, flags []*kong.Flag) (fileSettings, error) {
	content, err := readUpTo(context.Background(), name, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	mapping, err := parseYAML(content)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	settings := make(fileSettings)
	for i := 0; i+1 < len(mapping); i += 2 {
		key, value := mapping[i], mapping[i+1]
		at := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %w", name, key.Line, fmt.Errorf(format, args...))
		}
		j := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == key.Value })
		if j < 0 {
			return nil, at("unknown setting %q%s", key.Value, suggestion(key.Value, flags))
		}
		if key.Value == "config" {
			return nil, at("config: a configuration file cannot include another")
		}
		if _, twice := settings[key.Value]; twice {
			return nil, at("%s is given twice", key.Value)
		}
		text, err := settingText(value)
		if err != nil {
			return nil, at("%s %w", key.Value, err)
		}
		if err := checkSetting(flags[j], text); err != nil {
			return nil, at("%w", err)
		}
		settings[key.Value] = text
	}
	return settings, nil
}

// ofYAML matches errors of the YAML library that contain a line number.
var ofYAML = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// parseYAML returns the keys and values of a document, alternately. Its errors start with
// the line.
func parseYAML(content []byte) ([]*yaml.Node, error) {
	var document, another yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(content))
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil // only comments
	}
	if err == nil {
		err = d.Decode(&another)
	}
	switch {
	case err == nil:
		return nil, fmt.Errorf("%d: unexpected second document", another.Line)
	case !errors.Is(err, io.EOF):
		line, why := "1", strings.TrimPrefix(err.Error(), "yaml: ")
		if m := ofYAML.FindStringSubmatch(err.Error()); m != nil {
			line, why = m[1], m[2]
		}
		return nil, fmt.Errorf("%s: invalid YAML on or near this line: %s (want 'name: value'; quote values that start with * & ! [ { %% @ or contain ': ' or ' #')", line, why)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: want lines of the form 'name: value'", root.Line)
	}
	return root.Content, nil
}

// settingText returns a value as on the command line. The error completes a sentence that
// starts with the name of the setting.
func settingText(value *yaml.Node) (string, error) {
	switch value.Kind {
	case yaml.ScalarNode:
		if value.Tag == "!!null" {
			return "", errors.New("has no value: add one, or comment out the line with #")
		}
		return value.Value, nil
	case yaml.SequenceNode:
		var all []string
		for _, element := range value.Content {
			if element.Kind != yaml.ScalarNode || element.Tag == "!!null" {
				return "", errors.New("is a list with elements that are not plain values")
			}
			all = append(all, element.Value)
		}
		return strings.Join(all, ","), nil
	case yaml.MappingNode:
		return "", errors.New("has nested settings: all settings must start at the left margin")
	}
	return "", errors.New("is a YAML alias: quote values that start with *")
}

// checkSetting returns an error unless the flag accepts the value.
func checkSetting(flag *kong.Flag, text string) error {
	target := reflect.New(flag.Target.Type()).Elem()
	err := flag.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text}), target)
	if err != nil {
		// The error is about a setting, not about a flag.
		return errors.New(strings.TrimPrefix(err.Error(), "--"))
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), text) {
		return fmt.Errorf("%s: %q, want one of %s", flag.Name, text, strings.Join(flag.EnumSlice(), ", "))
	}
	return nil
}

// suggestion returns the flag that a misspelled name probably means, or where to find all
// flags.
func suggestion(name string, flags []*kong.Flag) string {
	plain := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(strings.TrimLeft(name, "-"), "INBOX_")), "_", "-")
	best, least := "", len(plain)/3+2
	for _, flag := range flags {
		if d := distance(plain, flag.Name); d < least && !flag.Hidden {
			best, least = flag.Name, d
		}
	}
	if best == "" {
		return " (see inbox serve --help)"
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance returns the Levenshtein distance between a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
