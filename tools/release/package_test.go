package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

const goArch = runtime.GOARCH

// takePort listens on a port of every address until stop is called.
func takePort(t testing.TB, port string) (stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	return func() { ln.Close() }
}

// The package is installed, runs through its unit, is upgraded with the operator's
// settings, and is removed. Nothing is left when it is purged.
func TestPackage(t *testing.T) {
	if !inside(t, func(dir string) {
		for _, version := range []string{oldVersion, newVersion} {
			found, err := filepath.Glob(filepath.Join(fixtures(t), version, "*.deb"))
			if err != nil || len(found) != 1 {
				t.Fatalf("%v, %v", found, err)
			}
			copyFile(t, found[0], filepath.Join(dir, version+".deb"))
		}
	}) {
		return
	}
	const settings = "/etc/inbox/inbox.yaml"
	before := files(t)
	want(t, "the first installation", command(t, 0, "dpkg", "-i", "/share/"+oldVersion+".deb"), "sudo inbox setup signal.example.com")
	if out := command(t, 0, "dpkg", "--verify", "inbox"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	command(t, 0, "getent", "passwd", "inbox")
	if state := command(t, 1, "systemctl", "is-enabled", "inbox"); state != "disabled\n" {
		t.Errorf("without a name, the service is %s", state)
	}
	if out := command(t, 0, "inbox", "version"); out != "inbox "+oldVersion+"\n" {
		t.Errorf("the version is %s", out)
	}
	if out := command(t, 0, "bash", "-c", "source /usr/share/bash-completion/completions/inbox && complete -p inbox"); strings.ReplaceAll(out, "'", "") != "complete -C /usr/bin/inbox inbox\n" {
		t.Errorf("bash completes with %s", out)
	}
	want(t, "the manual", command(t, 0, "sh", "-c", "zcat /usr/share/man/man1/inbox-serve.1.gz"), `\fB\-\-max\-body\fR`)

	// Without a name it does not start, logs the reason, and does not try again.
	command(t, 1, "systemctl", "start", "inbox")
	want(t, "the log of a server without a name", command(t, 0, "journalctl", "--no-pager", "-u", "inbox"), "--tls-domain")
	if out := command(t, 0, "systemctl", "show", "-P", "NRestarts", "inbox"); out != "0\n" {
		t.Errorf("it was restarted %s times", out)
	}

	// The operator changes the settings to run behind a proxy.
	content := string(readFile(t, settings))
	content = strings.Replace(content, "\ntls: acme\ntls-storage: /var/lib/inbox/acme\n", "\nlisten: 127.0.0.1:8080\n", 1) + "# my own words\n"
	if err := os.WriteFile(settings, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, 0, "systemctl", "enable", "--now", "inbox")
	const url = "http://127.0.0.1:8080"
	use(t, url)
	command(t, 0, "inbox", "healthcheck", "--config", settings)
	// The unit confines it, as far as this machine can.
	if out := command(t, 0, "sh", "-c", `nsenter -t $(systemctl show -P MainPID inbox) -m sh -c 'touch /etc/x /home/x /usr/x 2>&1; true'`); strings.Count(out, "Read-only") < 2 {
		t.Errorf("it may write to\n%s", out)
	}

	// A message that waits is there after the upgrade, as is what the operator wrote.
	open := exec.Command("curl", "--silent", "--user", "dora:password of dora", url+"/inbox?wait=0")
	if out, err := open.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	send := exec.Command("inbox", "send", "--server", url, "--id", "alice", "--to", "dora")
	send.Env = append(os.Environ(), "INBOX_PASSWORD=password of alice")
	send.Stdin = strings.NewReader("from before")
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := command(t, 0, "systemctl", "show", "-P", "MainPID", "inbox")
	command(t, 0, "dpkg", "--force-confold", "-i", changedPackage(t, "/share/"+newVersion+".deb"))
	if out := command(t, 0, "inbox", "version"); out != "inbox "+newVersion+"\n" {
		t.Errorf("after the upgrade the version is %s", out)
	}
	if command(t, 0, "systemctl", "is-active", "inbox") != "active\n" || command(t, 0, "systemctl", "show", "-P", "MainPID", "inbox") == pid {
		t.Error("the new version does not run")
	}
	if got := string(readFile(t, settings)); got != content {
		t.Errorf("the settings are\n%s", got)
	}
	want(t, "the new settings, next to those of the operator", string(readFile(t, settings+".dpkg-dist")), "# new in this version")
	inboxtest.Until(t, "the message from before arrives", func() bool {
		out, _ := exec.Command("curl", "--silent", "--user", "dora:password of dora", url+"/inbox?wait=0").CombinedOutput()
		return strings.Contains(string(out), "from before")
	})

	command(t, 0, "dpkg", "--remove", "inbox")
	if out, err := exec.Command("systemctl", "is-active", "inbox").CombinedOutput(); err == nil || string(out) != "inactive\n" {
		t.Errorf("removed, the service is %s", out)
	}
	for _, kept := range []string{settings, "/var/lib/inbox"} {
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("removing does not keep %s", kept)
		}
	}
	command(t, 0, "dpkg", "--purge", "inbox")
	command(t, 2, "getent", "passwd", "inbox")
	command(t, 2, "getent", "group", "inbox")
	for _, name := range files(t) {
		if _, was := slices.BinarySearch(before, name); !was {
			t.Errorf("purging leaves %s", name)
		}
	}
}

// changedPackage returns a package like the given one, with a new line in its settings.
func changedPackage(t *testing.T, deb string) string {
	t.Helper()
	dir := t.TempDir()
	command(t, 0, "dpkg-deb", "-R", deb, dir+"/tree")
	name := dir + "/tree/etc/inbox/inbox.yaml"
	if err := os.WriteFile(name, append(readFile(t, name), "# new in this version\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, 0, "sh", "-c", "cd "+dir+"/tree && find etc usr -type f | xargs md5sum >DEBIAN/md5sums")
	command(t, 0, "dpkg-deb", "--root-owner-group", "-Znone", "-b", dir+"/tree", dir+"/changed.deb")
	return dir + "/changed.deb"
}

// files lists what a package could leave behind, sorted.
func files(t testing.TB) (all []string) {
	t.Helper()
	for _, root := range []string{"/etc", "/usr", "/var", "/lib/systemd"} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			for _, other := range []string{"/var/lib/dpkg", "/var/log", "/var/cache", "/var/tmp", "/var/lib/systemd"} {
				if path == other {
					return fs.SkipDir
				}
			}
			if !strings.HasSuffix(path, "-") { // /etc/passwd-
				all = append(all, path)
			}
			return nil
		})
	}
	slices.Sort(all)
	return all
}

// The package follows the customs of Debian that its checker looks for.
func TestPackageCustoms(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	found, err := filepath.Glob(filepath.Join(fixtures(t), newVersion, "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	listing := command(t, 0, "dpkg-deb", "--contents", found[0])
	for scan := bufio.NewScanner(strings.NewReader(listing)); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		mode, owner, name := fields[0], fields[1], fields[5]
		wanted := "-rw-r--r--"
		switch {
		case strings.HasSuffix(name, "/"):
			wanted = "drwxr-xr-x"
		case name == "./usr/bin/inbox":
			wanted = "-rwxr-xr-x"
		}
		if owner != "root/root" || mode != wanted {
			t.Errorf("%s is %s of %s", name, mode, owner)
		}
	}
	for _, name := range []string{"./usr/share/doc/inbox/copyright", "./usr/share/doc/inbox/changelog.gz", "./usr/share/man/man1/inbox.1.gz", "./usr/lib/systemd/system/inbox.service", "./etc/inbox/inbox.yaml"} {
		want(t, "the files", listing, " "+name+"\n")
	}
	unit := command(t, 0, "sh", "-c", "dpkg-deb --fsys-tarfile "+found[0]+" | tar -xO ./usr/lib/systemd/system/inbox.service")
	if unit != string(readFile(t, "../../deploy/systemd/inbox.service")) {
		t.Error("the unit of the package is another than that of deploy/systemd")
	}
	for field, value := range map[string]string{"Package": "inbox", "Version": newVersion, "Depends": "ca-certificates", "Section": "net"} {
		if got := strings.TrimSpace(command(t, 0, "dpkg-deb", "--field", found[0], field)); got != value {
			t.Errorf("%s: %s", field, got)
		}
	}
	if out := command(t, 0, "dpkg-deb", "--info", found[0], "conffiles"); out != "/etc/inbox/inbox.yaml\n" {
		t.Errorf("the conffiles are %s", out)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		name := "../../deploy/package/" + script
		command(t, 0, "sh", "-n", name)
		want(t, script, string(readFile(t, name)), "\nset -e\n")
	}
	// Built again, it is the same, byte for byte.
	again := t.TempDir()
	if err := testRelease(newVersion).packages(filepath.Join(fixtures(t), newVersion, "inbox"), again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, found[0]), readFile(t, filepath.Join(again, filepath.Base(found[0])))) {
		t.Error("built again, the package is another one")
	}
}

// install.sh installs only verified files, and otherwise explains what to do.
func TestInstallScript(t *testing.T) {
	dir := t.TempDir()
	programs := filepath.Join(dir, "programs")
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"id": "echo 0", "uname": "echo x86_64", "inbox": "echo inbox $*",
		"apt-get": `for last; do :; done; echo "installed $(basename "$last")" >` + dir + "/installed",
	} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, "../../deploy/single/install.sh", filepath.Join(dir, "install.sh"))
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	install := func(code int, args ...string) string {
		t.Helper()
		return command(t, code, append([]string{"sh", filepath.Join(dir, "install.sh")}, args...)...)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want(t, "no name", install(1), "give the name of the server")
	want(t, "no release", install(1, "x.example.com"), "has no checksums.txt: keep this script in the directory")
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("package")))
	write("checksums.txt", sum+"  inbox_1.0.0_arm64.deb\n"+sum+"  inbox_1.0.0_linux_amd64.tar.gz\n")
	want(t, "another machine's release", install(1, "x.example.com"), "lists no package for this machine")
	write("checksums.txt", sum+"  inbox_1.0.0_amd64.deb\n")
	want(t, "a missing package", install(1, "x.example.com"), "has no inbox_1.0.0_amd64.deb")
	write("inbox_1.0.0_amd64.deb", "packagf")
	want(t, "a damaged package", install(1, "x.example.com"), "inbox_1.0.0_amd64.deb is damaged")
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		t.Error("a damaged package was installed")
	}
	write("inbox_1.0.0_amd64.deb", "package")
	want(t, "the release", install(0, "x.example.com", "--force"), "inbox setup x.example.com --force")
	want(t, "the package", string(readFile(t, filepath.Join(dir, "installed"))), "installed inbox_1.0.0_amd64.deb")
	t.Setenv("INBOX_RELEASE", "ftp://example.com")
	want(t, "an address that is not safe", install(1, "x.example.com"), "is a directory or an https:// address")
	write("checksums.txt", sum+"  inbox_1.0.0_amd64.deb\n"+sum+"  inbox_1.1.0_amd64.deb\n")
	t.Setenv("INBOX_RELEASE", dir)
	want(t, "two releases in one", install(1, "x.example.com"), "more than one package")
}
