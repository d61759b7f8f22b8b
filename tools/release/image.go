package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// roots is where Debian and others keep what certificates are checked against.
const roots = "/etc/ssl/certs/ca-certificates.crt"

// imageOfRelease adds the image to the release in dir, and its checksum.
func (r *release) imageOfRelease(dir string) error {
	binaries := make(map[string]string)
	for _, arch := range []string{"amd64", "arm64"} {
		found, err := filepath.Glob(filepath.Join(dir, "inbox_linux_"+arch+"*", "inbox"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s: %d binaries for linux/%s, want 1", dir, len(found), arch)
		}
		binaries[arch] = found[0]
	}
	name := filepath.Join(dir, "inbox_"+r.version+"_image.tar")
	if err := r.image(binaries, name); err != nil {
		return err
	}
	return addChecksums(dir, filepath.Base(name))
}

// image writes an OCI archive with an image for each architecture. It has what Dockerfile
// makes: the binary, the system's root certificates and directories for state.
func (r *release) image(binaries map[string]string, name string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		if binaries[arch] == "" {
			continue
		}
		image, err := r.imageFor(arch, binaries[arch])
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "linux", Architecture: arch},
		}})
	}
	// The archive holds one thing, the index of both, under the name inbox:VERSION.
	top := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index, Descriptor: v1.Descriptor{MediaType: types.OCIImageIndex, Annotations: map[string]string{
			"io.containerd.image.name":          "docker.io/library/inbox:" + r.version,
			"org.opencontainers.image.ref.name": r.version,
		}},
	})
	dir, err := os.MkdirTemp(filepath.Dir(name), "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, top); err != nil {
		return err
	}
	return r.archive(dir, name)
}

func (r *release) imageFor(arch, bin string) (v1.Image, error) {
	content, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	certificates, err := os.ReadFile(roots)
	if err != nil {
		return nil, fmt.Errorf("the image needs root certificates: %w (try: apt-get install ca-certificates)", err)
	}
	var layers []v1.Layer
	for _, files := range [][]tar.Header{
		{{Name: "etc/", Mode: 0o755}, {Name: "etc/ssl/", Mode: 0o755}, {Name: "etc/ssl/certs/", Mode: 0o755}, {Name: roots[1:], Mode: 0o644, Size: int64(len(certificates))},
			{Name: "var/", Mode: 0o755}, {Name: "var/lib/", Mode: 0o755}, {Name: "var/lib/inbox/", Mode: 0o700, Uid: user, Gid: user}, {Name: "state/", Mode: 0o700, Uid: user, Gid: user}},
		{{Name: "inbox", Mode: 0o755, Size: int64(len(content))}},
	} {
		layer, err := r.layer(files, map[string][]byte{roots[1:]: certificates, "inbox": content})
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{
		"org.opencontainers.image.title":       "inbox",
		"org.opencontainers.image.description": "Signaling server for WebRTC",
		"org.opencontainers.image.version":     r.version,
		"org.opencontainers.image.licenses":    "MIT",
		"org.opencontainers.image.created":     r.time.Format("2006-01-02T15:04:05Z"),
	}
	return mutate.ConfigFile(image, r.withConfig(image, arch, labels))
}

// user is the one that Dockerfile names, without rights and without a name.
const user = 65532

func (r *release) withConfig(image v1.Image, arch string, labels map[string]string) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		panic(err) // it is in memory
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", user, user), Labels: labels,
		Entrypoint: []string{"/inbox"}, Cmd: []string{"serve"},
		ExposedPorts: map[string]struct{}{"3000/tcp": {}, "3478/tcp": {}, "3478/udp": {}},
	}
	return config
}

// layer returns a layer of files, in their order.
func (r *release) layer(files []tar.Header, contents map[string][]byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, header := range files {
		header.ModTime = r.time
		if strings.HasSuffix(header.Name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(contents[header.Name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// archive packs a directory into a tar file, the same way each time.
func (r *release) archive(dir, name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content)), ModTime: r.time}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	return errors.Join(err, w.Close())
}
