package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sassoftware/go-rpmutils"
)

// The result of `make release` is complete: each file exists for each platform, has its
// checksum, and reports the version.
func TestRelease(t *testing.T) {
	dir, version := os.Getenv("INBOX_RELEASE_DIR"), os.Getenv("VERSION")
	if dir == "" {
		t.Skip("INBOX_RELEASE_DIR is not set: make release sets it")
	}
	one := func(pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		return found[0]
	}
	listed := make(map[string]bool)
	for line := range strings.Lines(string(readFile(t, one("checksums.txt")))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if got := fmt.Sprintf("%x", sha256.Sum256(readFile(t, filepath.Join(dir, name)))); got != sum {
			t.Errorf("%s has the checksum %s, listed is %s", name, got, sum)
		}
		listed[name] = true
	}
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			base := fmt.Sprintf("inbox_%s_%s_%s", version, system, arch)
			name := base + ".tar.gz"
			if system == "windows" {
				name = base + ".zip"
			}
			files := unpacked(t, filepath.Join(dir, name))
			program := files[base+"/inbox"]
			if system == "windows" {
				program = files[base+"/inbox.exe"]
			}
			checkProgram(t, program, system, arch, version)
			for _, file := range []string{"LICENSE", "README.md", "man/inbox-serve.1.gz", "completions/_inbox", "deploy/single/inbox.yaml", "deploy/systemd/inbox.service"} {
				if len(files[base+"/"+file]) == 0 {
					t.Errorf("%s has no %s", name, file)
				}
			}
			bom := base + ".cdx.json"
			var content struct {
				Components []struct{ Name string }
			}
			if err := json.Unmarshal(readFile(t, filepath.Join(dir, bom)), &content); err != nil || len(content.Components) < 20 {
				t.Errorf("%s: %d components, %v", bom, len(content.Components), err)
			}
			for _, file := range []string{name, bom} {
				if !listed[file] {
					t.Errorf("checksums.txt has no %s", file)
				}
			}
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		deb := one("inbox_*_" + arch + ".deb")
		if got := strings.TrimSpace(command(t, 0, "dpkg-deb", "--field", deb, "Version")); strings.ReplaceAll(got, "~", "-") != version {
			t.Errorf("%s has the version %s", deb, got)
		}
		rpm := one("inbox-*." + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch] + ".rpm")
		checkRPM(t, rpm, version)
		for _, file := range []string{deb, rpm} {
			if !listed[filepath.Base(file)] {
				t.Errorf("checksums.txt has no %s", file)
			}
		}
	}
	checkImage(t, one("inbox_"+version+"_image.tar"), version)
	sdk := unpacked(t, one("inbox-sdk-*.tgz"))
	if !bytes.Contains(sdk["package/package.json"], []byte(`"version": "`+version+`"`)) || !bytes.HasPrefix(sdk["package/dist/inbox.js"], []byte("//! inbox "+version+"\n")) {
		t.Error("the package of the SDK has no code or another version")
	}
	if chart := "inbox-" + version + ".tgz"; listed[chart] {
		want(t, "the chart", string(unpacked(t, one(chart))["inbox/Chart.yaml"]), fmt.Sprintf("appVersion: %q", version))
	} else if _, err := os.Stat("../../deploy/helm"); err == nil {
		t.Error("there is no chart")
	}
	for _, name := range []string{"install.sh", "inbox_" + version + "_image.tar"} {
		if !listed[name] {
			t.Errorf("checksums.txt has no %s", name)
		}
	}
}

// The light tools make the rpm, too.
func TestRPM(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(fixtures(t), newVersion, "*.rpm"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	checkRPM(t, found[0], newVersion)
}

// checkRPM reads a package for Red Hat: its version, files and scripts.
func checkRPM(t *testing.T, name, version string) {
	t.Helper()
	rpm, err := rpmutils.ReadRpm(bytes.NewReader(readFile(t, name)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for tag, want := range map[int]string{rpmutils.NAME: "inbox", rpmutils.VERSION: strings.ReplaceAll(version, "-", "~")} {
		if got, err := rpm.Header.GetString(tag); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	files, err := rpm.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	flags := make(map[string]int)
	for _, file := range files {
		flags[file.Name()] = file.Flags()
		if file.UserName() != "root" || file.GroupName() != "root" {
			t.Errorf("%s belongs to %s:%s", file.Name(), file.UserName(), file.GroupName())
		}
	}
	const noReplaceConfig = 1 | 16 // RPMFILE_CONFIG, RPMFILE_NOREPLACE
	if flags["/etc/inbox/inbox.yaml"]&noReplaceConfig != noReplaceConfig {
		t.Errorf("the settings have the flags %d: an upgrade would replace them", flags["/etc/inbox/inbox.yaml"])
	}
	for _, file := range []string{"/usr/bin/inbox", "/usr/lib/systemd/system/inbox.service", "/usr/share/man/man1/inbox.1.gz", "/usr/share/zsh/site-functions/_inbox"} {
		if _, ok := flags[file]; !ok {
			t.Errorf("%s has no %s", name, file)
		}
	}
	for tag, script := range map[int]string{rpmutils.POSTIN: "postinst", rpmutils.PREUN: "prerm", rpmutils.POSTUN: "postrm"} {
		if got, err := rpm.Header.GetString(tag); err != nil || got != string(readFile(t, "../../deploy/package/"+script)) {
			t.Errorf("%s: the script %s is another one, %v", name, script, err)
		}
	}
}

// checkProgram fails unless a program is for a platform, static, and has the version in it.
func checkProgram(t *testing.T, program []byte, system, arch, version string) {
	t.Helper()
	r := bytes.NewReader(program)
	machine, dynamic := "", false
	switch system {
	case "linux":
		f, err := elf.NewFile(r)
		if err != nil {
			t.Fatal(err)
		}
		machine = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
		dynamic = f.Section(".interp") != nil
	case "darwin":
		f, err := macho.NewFile(r)
		if err != nil {
			t.Fatal(err)
		}
		machine = map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64"}[f.Cpu]
	case "windows":
		f, err := pe.NewFile(r)
		if err != nil {
			t.Fatal(err)
		}
		machine = map[uint16]string{pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_ARM64: "arm64"}[f.Machine]
	}
	if machine != arch || dynamic || !bytes.Contains(program, []byte(version)) {
		t.Errorf("%s/%s: for %q, dynamic %v", system, arch, machine, dynamic)
	}
	if system == "linux" && arch == goArch {
		name := filepath.Join(t.TempDir(), "inbox")
		if err := os.WriteFile(name, program, 0o755); err != nil {
			t.Fatal(err)
		}
		if out := command(t, 0, name, "--version"); out != "inbox "+version+"\n" {
			t.Errorf("the program says %s", out)
		}
	}
}

// unpacked returns the files of an archive by their names.
func unpacked(t *testing.T, name string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	content := bytes.NewReader(readFile(t, name))
	if strings.HasSuffix(name, ".zip") {
		archive, err := zip.NewReader(content, content.Size())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if files[f.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	z, err := gzip.NewReader(content)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err == nil {
			files[header.Name], err = io.ReadAll(archive)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A chart is packed with the version of the release, and nothing else in it changes.
func TestChart(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"Chart.yaml": "name: inbox\nversion: 0.0.0\nappVersion: \"0.0.0\"\n", "values.yaml": "version: 1\n"} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name, err := testRelease(newVersion).chart(source, dir)
	if err != nil || name != "inbox-"+newVersion+".tgz" {
		t.Fatalf("%s, %v", name, err)
	}
	files := unpacked(t, filepath.Join(dir, name))
	if got := string(files["inbox/Chart.yaml"]); got != "name: inbox\nversion: 1.1.0\nappVersion: \"1.1.0\"\n" || string(files["inbox/values.yaml"]) != "version: 1\n" {
		t.Errorf("the chart is %s", got)
	}
}
