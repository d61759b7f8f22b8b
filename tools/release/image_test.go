package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"inbox/internal/inboxtest"
)

// The image is for two architectures, matches the Dockerfile, and runs.
func TestImage(t *testing.T) {
	bin := filepath.Join(fixtures(t), newVersion, "inbox")
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := testRelease(newVersion).image(map[string]string{"amd64": bin, "arm64": bin}, name); err != nil {
		t.Fatal(err)
	}
	checkImage(t, name, newVersion)
	again := name + ".again"
	if err := testRelease(newVersion).image(map[string]string{"amd64": bin, "arm64": bin}, again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, name), readFile(t, again)) {
		t.Error("built again, the image is another one")
	}
	if err := testRelease(newVersion).image(map[string]string{"amd64": "nowhere"}, again); err == nil {
		t.Error("an image is made of nothing")
	}
}

// checkImage unpacks an image and runs its program.
func checkImage(t *testing.T, name, version string) {
	t.Helper()
	dir := t.TempDir()
	unpack(t, bytes.NewReader(readFile(t, name)), dir)
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != version {
		t.Fatalf("the archive holds %+v, %v", manifest, err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the image is damaged: %v", err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	var architectures []string
	for _, of := range manifest.Manifests {
		image, err := index.Image(of.Digest)
		if err != nil {
			t.Fatal(err)
		}
		architectures = append(architectures, of.Platform.OS+"/"+of.Platform.Architecture)
		checkConfig(t, image, of.Platform.Architecture, version)
		if of.Platform.Architecture == goArch {
			runImage(t, image, version)
		}
	}
	if !slices.Equal(architectures, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("the image is for %v", architectures)
	}
}

// checkConfig compares the configuration of an image with the Dockerfile.
func checkConfig(t *testing.T, image v1.Image, arch, version string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(readFile(t, "../../Dockerfile"))
	line := func(instruction string) string {
		all := regexp.MustCompile(`(?m)^`+instruction+` (.*)$`).FindAllStringSubmatch(dockerfile, -1)
		return all[len(all)-1][1]
	}
	list := func(all []string) string { text, _ := json.Marshal(all); return string(text) }
	var ports []string
	for port := range config.Config.ExposedPorts {
		ports = append(ports, strings.TrimSuffix(strings.Replace(port, "3000/tcp", "3000", 1), ""))
	}
	slices.Sort(ports)
	for what, pair := range map[string][2]string{
		"USER": {config.Config.User, line("USER")}, "ENTRYPOINT": {list(config.Config.Entrypoint), line("ENTRYPOINT")},
		"CMD": {list(config.Config.Cmd), line("CMD")}, "EXPOSE": {strings.Join(ports, " "), line("EXPOSE")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, and in the Dockerfile %s", what, pair[0], pair[1])
		}
	}
	labels := config.Config.Labels
	if config.Architecture != arch || labels["org.opencontainers.image.version"] != version || labels["org.opencontainers.image.licenses"] != "MIT" {
		t.Errorf("for %s: %s, %v", arch, config.Architecture, labels)
	}
}

// runImage starts the program in the files of its image, as its user where it may.
func runImage(t *testing.T, image v1.Image, version string) {
	t.Helper()
	root := t.TempDir()
	files := mutate.Extract(image)
	defer files.Close()
	unpack(t, files, root)
	if content := readFile(t, root+roots); !bytes.Contains(content, []byte("BEGIN CERTIFICATE")) {
		t.Error("the image has no root certificates")
	}
	if _, err := os.Stat(root + "/bin"); err == nil {
		t.Error("the image has more than the program")
	}
	in := func(args ...string) *exec.Cmd {
		if os.Getuid() != 0 {
			return exec.Command(root+"/inbox", args...)
		}
		cmd := exec.Command("/inbox", args...)
		cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	if os.Getuid() == 0 { // the program's user has to get to the root
		for dir := root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755)
		}
	}
	if out, err := in("version").CombinedOutput(); err != nil || string(out) != "inbox "+version+"\n" {
		t.Fatalf("the program says %s, %v", out, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	ln.Close()
	flags := []string{"--listen=" + at, "--turn=off", "--drain=0s"}
	if os.Getuid() == 0 {
		flags = append(flags, "--snapshot=/var/lib/inbox/inbox.snapshot")
	}
	var said bytes.Buffer
	server := in(append([]string{"serve"}, flags...)...)
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	inboxtest.Until(t, "the program in the image answers", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended with %v: %s", err, said.String())
		default:
		}
		res, err := http.Get("http://" + at + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if out, err := in(append([]string{"healthcheck"}, flags...)...).CombinedOutput(); err != nil {
		t.Errorf("the health check: %v: %s", err, out)
	}
	server.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v: %s", err, said.String())
	}
}

// unpack writes what a tar file holds below dir, with owners if this is root.
func unpack(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || !filepath.IsLocal(header.Name) {
			t.Fatalf("%v, %v", header, err)
		}
		name := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(archive); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o600))
			}
		}
		if err == nil {
			err = os.Chmod(name, header.FileInfo().Mode())
		}
		if err == nil && os.Getuid() == 0 {
			err = os.Chown(name, header.Uid, header.Gid)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", header.Name, err))
		}
	}
}
