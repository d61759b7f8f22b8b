package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers a format
	_ "github.com/goreleaser/nfpm/v2/rpm"
	"go.yaml.in/yaml/v3"
)

// packages builds the packages of one binary, from the list in .goreleaser.yaml.
func (r *release) packages(bin, dir string) error {
	text, formats, err := r.nfpmConfig(bin)
	if err != nil {
		return err
	}
	before, err := os.Getwd()
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	// The list has paths from the root of the tree.
	if err := os.Chdir(r.root); err != nil {
		return err
	}
	defer os.Chdir(before)
	config, err := nfpm.Parse(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("nfpms in .goreleaser.yaml: %w", err)
	}
	for _, format := range formats {
		info, err := config.Get(format)
		if err != nil {
			return err
		}
		info = nfpm.WithDefaults(info)
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(dir, packager.ConventionalFileName(info)))
		if err != nil {
			return err
		}
		if err := packager.Package(info, f); err != nil {
			f.Close()
			return fmt.Errorf("%s: %w", format, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// nfpmConfig returns the first entry of nfpms in .goreleaser.yaml as nfpm itself reads it.
// goreleaser has other names for what it sets, and takes the rest as it is.
func (r *release) nfpmConfig(bin string) (text []byte, formats []string, err error) {
	content, err := os.ReadFile(filepath.Join(r.root, ".goreleaser.yaml"))
	if err != nil {
		return nil, nil, err
	}
	var file struct {
		NFPMs []map[string]any `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil || len(file.NFPMs) != 1 {
		return nil, nil, fmt.Errorf(".goreleaser.yaml: %d entries in nfpms, want 1: %w", len(file.NFPMs), err)
	}
	entry := file.NFPMs[0]
	for _, format := range entry["formats"].([]any) {
		formats = append(formats, format.(string))
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, nil, err
	}
	entry["name"], entry["version"] = entry["package_name"], r.version
	entry["platform"], entry["arch"] = "linux", r.arch
	entry["mtime"] = r.time.Format(time.RFC3339)
	entry["contents"] = append(entry["contents"].([]any), map[string]any{
		"src": bin, "dst": entry["bindir"].(string) + "/inbox", "file_info": map[string]any{"mode": 0o755},
	})
	entry["depends"] = entry["dependencies"]
	for _, own := range []string{"dependencies", "package_name", "formats", "file_name_template", "bindir"} {
		delete(entry, own)
	}
	text, err = yaml.Marshal(entry)
	if err == nil && strings.Contains(string(text), "{{") {
		err = fmt.Errorf("nfpms in .goreleaser.yaml has a template that this tool does not know:\n%s", text)
	}
	return text, formats, err
}
