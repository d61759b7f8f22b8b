package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
)

// extras adds the SDK, the chart and install.sh to the release in dir, with their checksums.
func (r *release) extras(dir string) error {
	sdk, err := r.sdk(dir)
	if err != nil {
		return fmt.Errorf("the SDK: %w", err)
	}
	added := []string{sdk, "install.sh"}
	script, err := os.ReadFile(filepath.Join(r.root, "deploy", "single", "install.sh"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "install.sh"), script, 0o755); err != nil {
		return err
	}
	charts, err := filepath.Glob(filepath.Join(r.root, "deploy", "helm", "*", "Chart.yaml"))
	if err != nil {
		return err
	}
	if one := filepath.Join(r.root, "deploy", "helm", "Chart.yaml"); len(charts) == 0 {
		if _, err := os.Stat(one); err == nil {
			charts = []string{one}
		}
	}
	for _, chart := range charts {
		name, err := r.chart(filepath.Dir(chart), dir)
		if err != nil {
			return fmt.Errorf("the chart: %w", err)
		}
		added = append(added, name)
	}
	return addChecksums(dir, added...)
}

// addChecksums appends lines to checksums.txt of a release.
func addChecksums(dir string, names ...string) error {
	var lines bytes.Buffer
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(content), name)
	}
	sums, err := os.OpenFile(filepath.Join(dir, "checksums.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = sums.Write(lines.Bytes())
	return errors.Join(err, sums.Close())
}

// sdk packs the SDK with the version of the release and returns the name of the file. The
// package.json of the tree stays as it is.
func (r *release) sdk(dir string) (name string, err error) {
	source := filepath.Join(r.root, "web", "sdk")
	build := exec.Command("npm", "run", "--silent", "build")
	build.Dir = source
	build.Env = append(os.Environ(), "INBOX_VERSION="+r.version)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm run build: %w\n%s", err, out)
	}
	tree, err := os.MkdirTemp("", "inbox-sdk-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tree)
	content, err := os.ReadFile(filepath.Join(source, "package.json"))
	if err != nil {
		return "", err
	}
	var manifest struct{ Files []string }
	if err := json.Unmarshal(content, &manifest); err != nil {
		return "", err
	}
	for _, file := range append(manifest.Files, "README.md", "LICENSE", "../../LICENSE") {
		from := filepath.Join(source, file)
		info, err := os.Stat(from)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // npm has a LICENSE and others only if they are there
		case err != nil:
			return "", err
		case info.IsDir():
			err = os.CopyFS(filepath.Join(tree, file), os.DirFS(from))
		default:
			if content, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(filepath.Join(tree, filepath.Base(file)), content, 0o644)
			}
		}
		if err != nil {
			return "", err
		}
	}
	if content, err = os.ReadFile(filepath.Join(source, "package.json")); err != nil {
		return "", err
	}
	content, err = replaceOnce(content, `(?m)^  "version": ".*"`, fmt.Sprintf("  \"version\": %q", r.version))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tree, "package.json"), content, 0o644); err != nil {
		return "", err
	}
	to, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	pack := exec.Command("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", to)
	pack.Dir = tree
	out, err := pack.Output()
	if err != nil {
		return "", fmt.Errorf("npm pack: %w", err)
	}
	var packed []struct{ Filename string }
	if err := json.Unmarshal(out, &packed); err != nil || len(packed) != 1 {
		return "", fmt.Errorf("npm pack says %s: %w", out, err)
	}
	return filepath.Base(packed[0].Filename), nil
}

// replaceOnce replaces the only match of a pattern.
func replaceOnce(content []byte, pattern, by string) ([]byte, error) {
	re := regexp.MustCompile(pattern)
	if n := len(re.FindAll(content, -1)); n != 1 {
		return nil, fmt.Errorf("%d lines match %s, want 1", n, pattern)
	}
	return re.ReplaceAllLiteral(content, []byte(by)), nil
}

// chart packs a Helm chart with the version of the release, and returns the file's name.
func (r *release) chart(source, dir string) (name string, err error) {
	content, err := os.ReadFile(filepath.Join(source, "Chart.yaml"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^name: *"?([a-z0-9-]+)"? *$`).FindSubmatch(content)
	if m == nil {
		return "", errors.New("Chart.yaml has no name")
	}
	if content, err = replaceOnce(content, `(?m)^version:.*$`, "version: "+r.version); err != nil {
		return "", err
	}
	if content, err = replaceOnce(content, `(?m)^appVersion:.*$`, fmt.Sprintf("appVersion: %q", r.version)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err = fs.WalkDir(os.DirFS(source), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		of := content
		if file != "Chart.yaml" {
			if of, err = os.ReadFile(filepath.Join(source, file)); err != nil {
				return err
			}
		}
		header := tar.Header{Name: path.Join(string(m[1]), file), Mode: 0o644, Size: int64(len(of)), ModTime: r.time}
		if err := w.WriteHeader(&header); err != nil {
			return err
		}
		_, err = w.Write(of)
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		return "", err
	}
	name = string(m[1]) + "-" + r.version + ".tgz"
	return name, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)
}
