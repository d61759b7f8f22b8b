package acme

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CheckDirectory returns an error if dir is lost when its container is. Each new
// container would then order certificates again, until the authority refuses.
func CheckDirectory(dir string) error {
	return checkDirectory(os.DirFS("/"), os.Getenv, dir)
}

// checkDirectory does the same as CheckDirectory for any file system.
func checkDirectory(root fs.FS, env func(string) string, dir string) error {
	kind := container(root, env)
	if kind == "" {
		return nil
	}
	why := notKept(root, dir)
	if why == "" {
		return nil
	}
	return fmt.Errorf("--tls acme in a container (%s) requires a directory that outlives it, but %s is %s: each new container would order new certificates, "+
		"and authorities limit duplicates (Let's Encrypt to 5 a week): mount a volume and set --tls-storage to it", kind, dir, why)
}

// container returns the kind of container that this process runs in, or "". LXC and
// systemd-nspawn do not count, since their files persist.
func container(root fs.FS, env func(string) string) string {
	if env("KUBERNETES_SERVICE_HOST") != "" {
		return "Kubernetes"
	}
	for _, sign := range []struct{ file, kind string }{{".dockerenv", "Docker"}, {"run/.containerenv", "Podman"}} {
		if _, err := fs.Stat(root, sign.file); err == nil {
			return sign.kind
		}
	}
	for _, file := range []string{"proc/1/cgroup", "proc/self/cgroup"} {
		groups, _ := fs.ReadFile(root, file) // may be hidden
		for _, sign := range []struct{ mark, kind string }{
			{"kubepods", "Kubernetes"}, {"docker", "Docker"}, {"libpod", "Podman"}, {"containerd", "containerd"},
		} {
			if bytes.Contains(groups, []byte(sign.mark)) {
				return sign.kind
			}
		}
	}
	return ""
}

// notKept describes the volatile file system of dir, or returns "" if dir persists.
func notKept(root fs.FS, dir string) string {
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return "" // unknown
	}
	dir = resolve(dir)
	at, what := "", ""
	for lines := bufio.NewScanner(bytes.NewReader(mounts)); lines.Scan(); {
		// 36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, system := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(system) == 0 {
			continue
		}
		point := unescape(fields[4])
		if !inside(dir, point) || len(point) < len(at) {
			continue
		}
		at = point
		switch {
		case system[0] == "tmpfs" || system[0] == "ramfs":
			what = "in memory (" + point + ")"
		case strings.Contains(fields[3], "kubernetes.io~empty-dir"):
			what = "in an emptyDir (" + point + "), which ends with the pod"
		case point == "/":
			what = "on the container's own file system"
		default:
			what = ""
		}
	}
	return what
}

func inside(dir, point string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}

// resolve follows symbolic links in the part of dir that exists.
func resolve(dir string) string {
	dir = filepath.Clean(dir)
	for at, rest := dir, ""; ; {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return dir
		}
		at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest)
	}
}

// unescape reverses the kernel's escaping of spaces in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
