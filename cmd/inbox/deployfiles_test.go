package main

import (
	"bytes"
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
	"testing"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// checkSettings checks that variables belong to flags and do not contradict each other.
// It returns the configuration that they make.
func checkSettings(t *testing.T, variables map[string]string) *serveCommand {
	t.Helper()
	known := []string{"GOMEMLIMIT"}
	var c cli
	k, err := kong.New(&c, kong.DefaultEnvars("INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			known = append(known, flag.Envs...)
		}
	}
	for variable, value := range variables {
		if !slices.Contains(known, variable) {
			t.Errorf("no flag has the variable %s", variable)
		}
		if strings.HasPrefix(variable, "INBOX_") {
			t.Setenv(variable, value)
		}
	}
	var configured cli
	parse(t, &configured)
	return &configured.Serve
}

// The variables in the systemd units are valid, and systemd accepts the units.
func TestSystemdUnits(t *testing.T) {
	units, err := filepath.Glob(deploy + "systemd/*")
	if err != nil || len(units) < 3 {
		t.Fatalf("%d units, %v", len(units), err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copies := []string{"verify", "--man=no"}
	for _, unit := range units {
		content, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, filepath.Base(unit))
		copies = append(copies, at)
		changed := regexp.MustCompile(`/usr/(local/)?bin/inbox`).ReplaceAll(content, []byte(program))
		if err := os.WriteFile(at, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(unit, ".service") {
			continue
		}
		t.Run(filepath.Base(unit), func(t *testing.T) {
			variables := make(map[string]string)
			for _, m := range regexp.MustCompile(`(?m)^Environment=([A-Z_]+)=(.*)$`).FindAllSubmatch(content, -1) {
				variables[string(m[1])] = strings.ReplaceAll(string(m[2]), "%S", "/var/lib")
			}
			t.Setenv("STATE_DIRECTORY", "/var/lib/inbox")
			proxied := strings.Contains(unit, "proxied")
			if !proxied {
				// The unit contradicts nothing in the file.
				if len(variables) != 0 || !strings.Contains(string(content), "serve --config /etc/inbox/inbox.yaml\n") {
					t.Errorf("the unit sets %v, and inbox.yaml is the one place for settings", variables)
				}
				variables["INBOX_CONFIG"] = namedSingle(t)
			}
			c := checkSettings(t, variables)
			if proxied != slices.Equal(c.addresses(), []string{fromSystemd}) || !proxied && c.TLS != "acme" {
				t.Errorf("it listens at %v, TLS %s", c.addresses(), c.TLS)
			}
		})
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not installed, so the units were not checked")
	}
	if out, err := exec.Command(analyze, copies...).CombinedOutput(); err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd rejects the units: %v\n%s", err, out)
	}
	for _, unit := range copies[2:] {
		if !strings.HasSuffix(unit, ".service") {
			continue
		}
		// The threshold is ten times the exposure that systemd prints: 1.6 of 10.
		out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s is not confined as it was: %v\n%s", unit, err, out)
		}
	}
}

// namedSingle returns a copy of the file of deploy/single that has a name, the one thing
// that an operator has to give.
func namedSingle(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(single + "inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	named := bytes.Replace(content, []byte("\n#tls-domain: "), []byte("\ntls-domain: "), 1)
	if bytes.Equal(named, content) {
		t.Fatal("the file shows no tls-domain")
	}
	return writeConfig(t, string(named))
}

const single = deploy + "single/"

// With a name, the one file is a public server with a certificate, the relay and limits.
// Every setting that it shows in a comment is right, too.
func TestSingleServerSettings(t *testing.T) {
	c := checkSettings(t, map[string]string{"INBOX_CONFIG": namedSingle(t)})
	if c.TLS != "acme" || c.Turn != "closed" || c.TurnRateTotal == 0 || c.Limits != "on" || c.LimitConnections == 0 {
		t.Errorf("it is not a public server: %+v", c)
	}
	for _, kept := range []string{c.TLSStorage, c.Snapshot} {
		if !strings.HasPrefix(kept, "/var/lib/inbox/") {
			t.Errorf("%s is not in the directory of the service", kept)
		}
	}
	content, err := os.ReadFile(single + "inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^#([a-z-]+:|  - )`).ReplaceAll(content, []byte("$1"))
	settings, err := readConfig(writeConfig(t, string(all)), serveFlags(t))
	if err != nil || len(settings) < 10 {
		t.Errorf("%d settings, %v", len(settings), err)
	}
}

// The container has everything that the settings in the file need: the ports, a volume, and
// the right to ports below 1024.
func TestSingleComposeFile(t *testing.T) {
	file := readCompose(t, single)
	service := file.Services["inbox"]
	config := service.Environment["INBOX_CONFIG"]
	if !slices.Contains(service.Command, config) {
		t.Errorf("the command is %q, and the health check reads %s", service.Command, config)
	}
	service.Environment["INBOX_CONFIG"] = namedSingle(t)
	c := checkSettings(t, service.Environment)
	if len(service.Ports) != len(c.portUses()) {
		t.Errorf("the ports are %v, and the server uses %v", service.Ports, c.portUses())
	}
	for _, use := range c.portUses() {
		_, port, _ := net.SplitHostPort(use.address)
		if !slices.ContainsFunc(service.Ports, func(p string) bool {
			return p == port+":"+port && use.network == "tcp" || p == port+":"+port+"/"+use.network
		}) {
			t.Errorf("port %s of %s is not published", port, use.network)
		}
	}
	if least, ok := service.Sysctls["net.ipv4.ip_unprivileged_port_start"]; !ok || least > 80 {
		t.Errorf("a user without rights may have ports from %d on", least)
	}
	mounted := make(map[string]string)
	for _, volume := range service.Volumes {
		parts := strings.Split(volume, ":")
		mounted[parts[1]] = parts[0]
		if _, err := os.Stat(single + parts[0]); err != nil && parts[1] != "/var/lib/inbox" {
			t.Errorf("the volume %s: %v", volume, err)
		}
	}
	if _, ok := file.Volumes[mounted["/var/lib/inbox"]]; !ok || mounted[config] != "./inbox.yaml" {
		t.Errorf("the volumes are %v", mounted)
	}
	image, err := os.ReadFile("../../Dockerfile")
	if err != nil || !strings.Contains(string(image), "--chown=65532:65532 /state /var/lib/inbox") {
		t.Errorf("the image has no directory that the user may write to: %v", err)
	}
	checkHealthcheck(t, service.Healthcheck.Test)
}

// checkHealthcheck checks that an image with nothing but the program can run the health
// check.
func checkHealthcheck(t *testing.T, test []string) {
	t.Helper()
	if len(test) < 3 || test[0] != "CMD" || test[1] != "/inbox" {
		t.Fatalf("the health check is %q", test)
	}
	if code := run(append(slices.Clone(test[2:]), "--listen="+freeAddress(t)), io.Discard, io.Discard); code != 1 {
		t.Errorf("the health check of a server that does not run exits with %d", code)
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// The Kubernetes manifests match the program and its image. A test of the chart in
// deploy/helm checks the rest of them.
func TestKubernetesManifests(t *testing.T) {
	for _, name := range []string{"inbox", "redis"} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(deploy + "kubernetes/" + name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			testManifest(t, content, name == "redis")
		})
	}
}

func testManifest(t *testing.T, content []byte, redis bool) {
	type port struct {
		Name          string
		ContainerPort int    `yaml:"containerPort"`
		TargetPort    string `yaml:"targetPort"`
		Port          int
	}
	type manifest struct {
		Kind string
		Spec struct {
			Replicas int
			Ports    []port
			Template struct {
				Spec struct {
					Grace           int `yaml:"terminationGracePeriodSeconds"`
					SecurityContext struct {
						RunAsUser int `yaml:"runAsUser"`
					} `yaml:"securityContext"`
					Containers []struct {
						Env          []struct{ Name, Value string }
						Ports        []port
						Liveness     probe `yaml:"livenessProbe"`
						Readiness    probe `yaml:"readinessProbe"`
						Startup      probe `yaml:"startupProbe"`
						VolumeMounts []struct {
							MountPath string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
					}
				}
			}
		}
	}
	named := make(map[string]bool)
	var targets []string // of services
	kinds := make(map[string]int)
	for d := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kinds[m.Kind]++
		switch m.Kind {
		case "StatefulSet":
			pod := m.Spec.Template.Spec
			image, err := os.ReadFile("../../Dockerfile")
			if err != nil {
				t.Fatal(err)
			}
			if user := regexp.MustCompile(`USER (\d+)`).FindSubmatch(image); string(user[1]) != "65532" || pod.SecurityContext.RunAsUser != 65532 {
				t.Errorf("the user is %d, in the image %s", pod.SecurityContext.RunAsUser, user[1])
			}
			container := pod.Containers[0]
			variables := make(map[string]string)
			for _, v := range container.Env {
				variables[v.Name] = v.Value
			}
			c := checkSettings(t, variables)
			file := c.Snapshot // in the volume
			if redis {
				file = c.PepperFile
			}
			if (m.Spec.Replicas == 1) == redis || (c.Store == inMemory) == redis || float64(pod.Grace) < 2*c.Drain.Seconds() || !strings.HasPrefix(file, container.VolumeMounts[0].MountPath) {
				t.Errorf("%d replicas, store %s, %d s to stop, file %s", m.Spec.Replicas, c.Store, pod.Grace, file)
			}
			for _, p := range container.Ports {
				named[p.Name] = true
				if want := map[string]string{"http": c.addresses()[0], "relay": c.TurnListen, "relay-tcp": c.TurnListen, "metrics": c.MetricsListen}[p.Name]; want != fmt.Sprint(":", p.ContainerPort) {
					t.Errorf("the port %s is %d, and the server listens at %s", p.Name, p.ContainerPort, want)
				}
			}
			r := serve(t, "--drain=0s", "--turn=off")
			for _, probe := range []probe{container.Liveness, container.Readiness, container.Startup} {
				if res, _ := get(t, http.DefaultClient, r.url+probe.HTTPGet.Path, "", ""); res.StatusCode != http.StatusOK || !named[probe.HTTPGet.Port] {
					t.Errorf("the probe of %s at %s gets %s", probe.HTTPGet.Path, probe.HTTPGet.Port, res.Status)
				}
			}
		case "Service":
			for _, p := range m.Spec.Ports {
				targets = append(targets, p.TargetPort)
			}
		}
	}
	for _, target := range targets {
		if !named[target] {
			t.Errorf("no port is named %s", target)
		}
	}
	if kinds["StatefulSet"] != 1 || kinds["Service"] != 3 || kinds["Ingress"] != 1 {
		t.Errorf("the manifest has %v", kinds)
	}
}
