package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"inbox/internal/acmetest"
	"inbox/internal/inboxtest"
)

// insideVariable says that the test runs inside a separate machine.
const insideVariable = "INBOX_TEST_INSIDE"

// inside runs the rest of a test in a separate machine: Debian with systemd, booted in
// namespaces, over a copy of this machine's files that ends with the test. It reports
// whether this is inside. Files of share are in /share there.
func inside(t *testing.T, share func(dir string)) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("not root: the test boots systemd in its own namespaces")
	}
	for _, program := range []string{"/lib/systemd/systemd", "unshare", "nsenter", "dpkg", "apt-get", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("not on this machine: %v", err)
		}
	}
	t.Parallel()
	dir := t.TempDir()
	share(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, filepath.Join(dir, "release.test"))
	init := boot(t, dir)
	cmd := exec.Command("nsenter", "--target", fmt.Sprint(init), "--all", "--",
		"/share/release.test", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", insideVariable + "=1", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	t.Logf("inside:\n%s", out)
	if err != nil {
		t.Errorf("inside: %v", err)
	}
	if bytes.Contains(out, []byte("no tests to run")) {
		t.Error("inside, no test has run")
	}
	return false
}

// boot starts the machine and returns the id of its first process.
func boot(t *testing.T, share string) (init int) {
	t.Helper()
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	groups := controlGroups(t)
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.MkdirTemp("", "inbox-machine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(mounts) })
	// The shell joins the groups, and the namespaces begin there.
	join := "for group in " + strings.Join(groups, " ") + "; do echo 0 >$group/cgroup.procs; done; exec \"$@\""
	cmd := exec.Command("sh", "-ec", join, "sh", "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child",
		"sh", script, mounts, share, tree)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Kill() // which kills the first process, and that one all others
		<-ended
		removeGroups(groups)
	})
	state := ""
	deadline := time.Now().Add(5 * time.Minute)
	for {
		if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)); err == nil {
			fmt.Sscan(string(children), &init)
		}
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", init)); init != 0 && err == nil && string(name) == "systemd\n" {
			out, _ := exec.Command("nsenter", "--target", fmt.Sprint(init), "--all", "--", "systemctl", "is-system-running").Output()
			if state = strings.TrimSpace(string(out)); state == "running" || state == "degraded" {
				return init
			}
		}
		select {
		case <-ended:
			t.Skipf("this machine cannot boot another in namespaces: %s", said.String())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("systemd is %q after five minutes: %s", state, said.String())
		}
	}
}

// controlGroups makes separate control groups in each hierarchy that systemd uses.
func controlGroups(t *testing.T) (groups []string) {
	t.Helper()
	for _, hierarchy := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(hierarchy, "cgroup.procs")); err != nil {
			continue
		}
		group, err := os.MkdirTemp(hierarchy, "inbox-test-")
		if err != nil {
			t.Skipf("this machine allows no control groups: %v", err)
		}
		groups = append(groups, group)
	}
	if len(groups) == 0 {
		t.Skip("this machine has no control groups that systemd could use")
	}
	return groups
}

// removeGroups removes groups with those below them, which are empty a moment after their
// last process.
func removeGroups(groups []string) {
	for range 50 {
		left := false
		for _, group := range groups {
			var all []string
			filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					all = append(all, path)
				}
				return nil
			})
			slices.Reverse(all)
			for _, dir := range all {
				if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					left = true
				}
			}
		}
		if !left {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyOne copies the only file of a directory that matches a pattern.
func copyOne(t testing.TB, from, pattern, to string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(from, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, from, found, err)
	}
	copyFile(t, found[0], filepath.Join(to, filepath.Base(found[0])))
}

// built are binaries and packages of two versions, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

const (
	oldVersion = "1.0.0"
	newVersion = "1.1.0"
)

// fixtures returns a directory that holds, for each version, VERSION/inbox and the packages
// that the light tools make of it.
func fixtures(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "inbox-release-"); built.err != nil {
			return
		}
		for _, version := range []string{oldVersion, newVersion} {
			r := testRelease(version)
			dir := filepath.Join(built.dir, version)
			if built.err = os.Mkdir(dir, 0o755); built.err != nil {
				return
			}
			if built.err = r.files(); built.err != nil {
				return
			}
			bin := filepath.Join(dir, "inbox")
			if built.err = os.Rename(filepath.Join(r.root, "build", "package", "inbox"), bin); built.err != nil {
				return
			}
			if built.err = r.packages(bin, dir); built.err != nil {
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

func testRelease(version string) *release {
	return &release{root: "../..", version: version, arch: goArch, time: time.Unix(1_700_000_000, 0).UTC()}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// command runs a program and returns what it prints. It fails unless the program ends with
// the code.
func command(t testing.TB, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if ok && exit.ExitCode() != code || !ok && code != 0 {
		t.Fatalf("%s: %v, want code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

func want(t testing.TB, what, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("%s: want %q in\n%s", what, part, got)
	}
}

// One command makes a bare machine with a name a public server: with a certificate, the
// relay and limits. INBOX_RELEASE_DIR is a release to take instead of a light package.
func TestPublicServer(t *testing.T) {
	if !inside(t, func(dir string) {
		acmetest.Start(t, acmetest.Config{}) // builds it, outside
		if of := os.Getenv("INBOX_RELEASE_DIR"); of != "" {
			copyOne(t, of, "inbox_*_"+goArch+".deb", dir)
			copyOne(t, of, "checksums.txt", dir)
			copyOne(t, of, "install.sh", dir)
			return
		}
		copyOne(t, filepath.Join(fixtures(t), oldVersion), "*.deb", dir)
		copyOne(t, "../../deploy/single", "install.sh", dir)
		sum := command(t, 0, "sh", "-c", "cd "+dir+" && sha256sum *.deb")
		if err := os.WriteFile(filepath.Join(dir, "checksums.txt"), []byte(sum), 0o644); err != nil {
			t.Fatal(err)
		}
	}) {
		return
	}
	const name, here = "signal.example.com", "203.0.113.10"
	a := acmetest.Start(t, acmetest.Config{TLSPort: 443, HTTPPort: 80, DNS: "127.0.0.1:53", Blocked: []string{"blocked.example.com"}})
	a.Resolve("elsewhere.example.com", "198.51.100.7")
	for _, of := range []string{name, "another.example.com", "blocked.example.com"} {
		a.Resolve(of, here)
	}
	copyFile(t, a.CAFile, "/etc/pebble.pem")
	const system = "/etc/ssl/certs/ca-certificates.crt"
	known, err := os.ReadFile(system)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(system, append(known, a.RootsPEM()...), 0o644); err != nil {
		t.Fatal(err)
	}

	install := func(code int, name string, more ...string) string {
		t.Helper()
		out := command(t, code, append([]string{"sh", "/share/install.sh", name, "--set", "tls-directory=" + a.Directory, "--set", "tls-directory-ca=/etc/pebble.pem", "--wait", "5m"}, more...)...)
		for line := range strings.Lines(out) {
			if strings.Count(line, "") > 82 && !strings.Contains(line, "inbox: ") && !strings.Contains(line, "Ports:") && !strings.Contains(line, "firewall") {
				t.Logf("a long line: %s", line)
			}
		}
		return out
	}
	// A problem is reported in a sentence, and nothing is started.
	want(t, "DNS leads elsewhere", install(1, "elsewhere.example.com"), "leads to 198.51.100.7, which is not an address of this machine: change its records to A "+here)
	want(t, "an invalid name", install(2, "https://example.com"), "is not a host name")
	stop := takePort(t, "443")
	want(t, "a port that is taken", install(1, name), "listens on port 443/tcp: stop it")
	stop()
	if out := command(t, 3, "systemctl", "is-active", "inbox"); !strings.Contains(out, "inactive") {
		t.Errorf("the service is %s", out)
	}
	want(t, "the settings, after what was wrong", string(readFile(t, "/etc/inbox/inbox.yaml")), "\n#tls-domain: ")

	began := time.Now()
	out := install(0, name)
	t.Logf("from the command to a public server: %v\n%s", time.Since(began), out)
	for _, part := range []string{
		"leads to 203.0.113.10, this machine", "443/tcp, 80/tcp, 3478/udp, 3478/tcp",
		"Certificate: " + name + " has one that browsers accept", "https://" + name + "/call/",
	} {
		want(t, "the one command", out, part)
	}
	use(t, "https://"+name)
	limited(t, "https://"+name)
	settings := string(readFile(t, "/etc/inbox/inbox.yaml"))
	want(t, "the settings", settings, "\ntls-domain: "+name+"\n")
	want(t, "the settings", settings, "# Limits of one client address.")
	if user := command(t, 0, "sh", "-c", `stat -c %U /proc/$(systemctl show -P MainPID inbox)`); user != "inbox\n" {
		t.Errorf("the server runs as %s", user)
	}
	if state := command(t, 0, "systemctl", "is-enabled", "inbox"); state != "enabled\n" {
		t.Errorf("the service is %s", state)
	}

	// Again, it changes nothing. With another name, it changes that.
	want(t, "the second run", install(0, name), "already has the name")
	if n := a.Orders(); n != 1 {
		t.Errorf("%d orders after two runs", n)
	}
	want(t, "another name", install(0, "another.example.com"), "https://another.example.com/call/")
	use(t, "https://another.example.com")
	if got := string(readFile(t, "/etc/inbox/inbox.yaml")); got != strings.ReplaceAll(settings, name, "another.example.com") {
		t.Errorf("more than the name has changed:\n%s", got)
	}
	want(t, "an authority that refuses", command(t, 1, "inbox", "setup", "blocked.example.com"), "runs without a certificate: the authority")
	// And it repairs.
	install(0, name)
	use(t, "https://"+name)
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// use has a message go from one peer to another through the server.
func use(t testing.TB, url string) {
	t.Helper()
	receive := exec.Command("inbox", "receive", "--server", url, "--id", "bob", "--timeout", "5m")
	receive.Env = append(os.Environ(), "INBOX_PASSWORD=password of bob")
	var got, said bytes.Buffer
	receive.Stdout, receive.Stderr = &got, &said
	if err := receive.Start(); err != nil {
		t.Fatal(err)
	}
	send := exec.Command("inbox", "send", "--server", url, "--id", "alice", "--to", "bob", "--wait", "5m")
	send.Env = append(os.Environ(), "INBOX_PASSWORD=password of alice")
	send.Stdin = strings.NewReader("hello")
	if out, err := send.CombinedOutput(); err != nil {
		t.Errorf("send: %v\n%s", err, out)
	}
	if err := receive.Wait(); err != nil || !strings.Contains(got.String(), "hello") {
		t.Errorf("receive through %s: %v, %q\n%s", url, err, got.String(), said.String())
	}
}

// limited checks that the server slows down an address that guesses a password.
func limited(t testing.TB, url string) {
	t.Helper()
	ask := func(password string) string {
		return command(t, 0, "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--user", "carol:"+password, url+"/inbox?wait=0")
	}
	if got := ask("right password"); got != "204" {
		t.Errorf("an inbox is opened with %s", got)
	}
	inboxtest.Until(t, "an address that guesses is slowed down", func() bool { return ask("wrong password") == "429" })
}
