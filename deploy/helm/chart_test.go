// Package helm tests the chart in inbox: Helm lints and renders it, and Kubernetes' own
// types read the result.
package helm

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the manifests in deploy/kubernetes")

// A serviceMonitor is the part of the Prometheus operator's type that the chart uses.
type serviceMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector  meta.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// A release is what an installation creates.
type release struct {
	manifest    string // of all objects but NOTES.txt
	notes       string
	set         apps.StatefulSet
	services    map[string]core.Service
	ingress     *networking.Ingress
	secret      *core.Secret
	budget      *policy.PodDisruptionBudget
	autoscaler  *autoscaling.HorizontalPodAutoscaler
	monitor     *serviceMonitor
	environment map[string]string
}

// valuesOf returns the values of a file in values, and the chart's defaults for "default".
func valuesOf(t *testing.T, name string) common.Values {
	t.Helper()
	if name == "default" {
		return common.Values{}
	}
	values, err := common.ReadValuesFile(filepath.Join("values", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// eachValues runs a test with the defaults and with each file in values.
func eachValues(t *testing.T, run func(t *testing.T, name string)) {
	files, err := filepath.Glob("values/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("values: %v, %v", files, err)
	}
	for _, name := range append([]string{"default"}, files...) {
		name = strings.TrimSuffix(filepath.Base(name), ".yaml")
		t.Run(name, func(t *testing.T) { run(t, name) })
	}
}

func render(name string, values map[string]any) (map[string]string, error) {
	chart, err := loader.Load("inbox")
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: name, Namespace: "default", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// install renders the chart and decodes every object. Unknown fields and kinds are errors.
func install(t *testing.T, values map[string]any) *release {
	t.Helper()
	rendered, err := render("inbox", values)
	if err != nil {
		t.Fatal(err)
	}
	r := &release{services: make(map[string]core.Service), environment: make(map[string]string)}
	var documents []string
	for _, file := range slices.Sorted(maps.Keys(rendered)) {
		if strings.HasSuffix(file, "NOTES.txt") {
			r.notes = rendered[file]
			continue
		}
		for document := range strings.SplitSeq(rendered[file], "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			documents = append(documents, strings.TrimSpace(document)+"\n")
			var kind meta.TypeMeta
			if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, document)
			}
			var object any
			var service core.Service
			switch kind.APIVersion + " " + kind.Kind {
			case "apps/v1 StatefulSet":
				object = &r.set
			case "v1 Service":
				object = &service
			case "v1 Secret":
				r.secret = new(core.Secret)
				object = r.secret
			case "networking.k8s.io/v1 Ingress":
				r.ingress = new(networking.Ingress)
				object = r.ingress
			case "policy/v1 PodDisruptionBudget":
				r.budget = new(policy.PodDisruptionBudget)
				object = r.budget
			case "autoscaling/v2 HorizontalPodAutoscaler":
				r.autoscaler = new(autoscaling.HorizontalPodAutoscaler)
				object = r.autoscaler
			case "monitoring.coreos.com/v1 ServiceMonitor":
				r.monitor = new(serviceMonitor)
				object = r.monitor
			default:
				t.Fatalf("%s: an unexpected %s %s", file, kind.APIVersion, kind.Kind)
			}
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, document)
			}
			if service.Name != "" {
				r.services[service.Name] = service
			}
		}
	}
	r.manifest = strings.Join(documents, "---\n")
	for _, variable := range r.set.Spec.Template.Spec.Containers[0].Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			value = "field " + variable.ValueFrom.FieldRef.FieldPath
		}
		if _, ok := r.environment[variable.Name]; ok {
			t.Errorf("%s is set twice", variable.Name)
		}
		r.environment[variable.Name] = value
	}
	return r
}

func TestLint(t *testing.T) {
	eachValues(t, func(t *testing.T, name string) {
		result := lint.RunAll("inbox", valuesOf(t, name), "default")
		for _, message := range result.Messages {
			// Helm recommends an icon. Ours would have to be on a public server.
			if message.Severity > support.InfoSev {
				t.Error(message)
			}
		}
		if result.HighestSeverity > support.InfoSev {
			t.Errorf("severity %d", result.HighestSeverity)
		}
	})
}

// Every selector, port, key and volume that an object names exists.
func TestObjectsFitTogether(t *testing.T) {
	eachValues(t, func(t *testing.T, name string) {
		r := install(t, valuesOf(t, name))
		pod := r.set.Spec.Template
		labels := pod.Labels
		matches := func(what string, selector map[string]string) {
			t.Helper()
			for key, value := range selector {
				if key == "statefulset.kubernetes.io/pod-name" {
					if value != r.set.Name+"-0" {
						t.Errorf("%s selects the pod %s", what, value)
					}
				} else if labels[key] != value {
					t.Errorf("%s selects %s=%s, the pods have %q", what, key, value, labels[key])
				}
			}
			if len(selector) == 0 {
				t.Errorf("%s selects everything", what)
			}
		}
		container := pod.Spec.Containers[0]
		ports := make(map[string]core.ContainerPort)
		for _, port := range container.Ports {
			ports[port.Name] = port
		}
		matches("the StatefulSet", r.set.Spec.Selector.MatchLabels)
		matches("the budget", r.budget.Spec.Selector.MatchLabels)
		for _, service := range r.services {
			matches("the service "+service.Name, service.Spec.Selector)
			for _, port := range service.Spec.Ports {
				target, ok := ports[port.TargetPort.StrVal]
				if !ok || (port.Protocol == core.ProtocolUDP) != (target.Protocol == core.ProtocolUDP) {
					t.Errorf("the service %s has the target %s: %+v", service.Name, port.TargetPort.String(), target)
				}
			}
		}
		if _, ok := r.services[r.set.Spec.ServiceName]; !ok {
			t.Errorf("no service is named %s", r.set.Spec.ServiceName)
		}
		if r.ingress != nil {
			backend := r.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service
			if service := r.services[backend.Name]; len(service.Spec.Ports) == 0 || service.Spec.Ports[0].Name != backend.Port.Name {
				t.Errorf("the Ingress leads to %s:%s", backend.Name, backend.Port.Name)
			}
		}
		for _, probe := range []*core.Probe{container.LivenessProbe, container.ReadinessProbe, container.StartupProbe} {
			if _, ok := ports[probe.HTTPGet.Port.StrVal]; !ok {
				t.Errorf("a probe asks port %s", probe.HTTPGet.Port.StrVal)
			}
		}
		volumes := make(map[string]bool)
		for _, volume := range pod.Spec.Volumes {
			volumes[volume.Name] = true
			if r.secret == nil {
				continue
			}
			if volume.Secret.SecretName != r.secret.Name {
				t.Errorf("the volume has the secret %s, the chart creates %s", volume.Secret.SecretName, r.secret.Name)
			}
			for _, item := range volume.Secret.Items {
				if len(r.secret.Data[item.Key]) == 0 {
					t.Errorf("the secret has no %s", item.Key)
				}
			}
		}
		for _, claim := range r.set.Spec.VolumeClaimTemplates {
			volumes[claim.Name] = true
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				t.Errorf("no volume is named %s", mount.Name)
			}
		}
		if r.monitor != nil {
			service := r.services[r.set.Spec.ServiceName]
			for key, value := range r.monitor.Spec.Selector.MatchLabels {
				if service.Labels[key] != value {
					t.Errorf("the monitor selects %s=%s, the service has %q", key, value, service.Labels[key])
				}
			}
			if r.monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
				t.Errorf("the monitor scrapes %s", r.monitor.Spec.Endpoints[0].Port)
			}
		}
		if strings.Contains(r.manifest, "<no value>") || strings.Contains(r.notes, "<no value>") {
			t.Error("a value is missing")
		}
	})
}

func TestPodsAreHardened(t *testing.T) {
	eachValues(t, func(t *testing.T, name string) {
		pod := install(t, valuesOf(t, name)).set.Spec.Template.Spec
		of, in := pod.SecurityContext, pod.Containers[0].SecurityContext
		if !*of.RunAsNonRoot || *of.RunAsUser != 65532 || of.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault ||
			*in.AllowPrivilegeEscalation || !*in.ReadOnlyRootFilesystem || !slices.Equal(in.Capabilities.Drop, []core.Capability{"ALL"}) ||
			*pod.AutomountServiceAccountToken || *pod.EnableServiceLinks || pod.Containers[0].Resources.Limits.Memory().IsZero() {
			t.Errorf("%+v\n%+v", pod, in)
		}
	})
}

func TestWhatEachSettingCreates(t *testing.T) {
	one := install(t, valuesOf(t, "default"))
	if one.environment["INBOX_SNAPSHOT"] == "" || len(one.set.Spec.VolumeClaimTemplates) != 1 || *one.set.Spec.Replicas != 1 || one.secret != nil || one.autoscaler != nil || one.monitor != nil {
		t.Errorf("one server: %+v", one)
	}
	if _, ok := one.environment["INBOX_TLS"]; ok || one.environment["INBOX_TRUSTED_PROXY"] == "" {
		t.Errorf("behind an Ingress: %v", one.environment)
	}
	relay := one.services["inbox-relay"]
	if relay.Spec.Type != core.ServiceTypeLoadBalancer || relay.Spec.ExternalTrafficPolicy != core.ServiceExternalTrafficPolicyLocal || len(relay.Spec.Ports) != 2 {
		t.Errorf("the relay's service: %+v", relay.Spec)
	}

	redis := install(t, valuesOf(t, "redis"))
	if redis.secret != nil || *redis.set.Spec.Replicas != 3 || len(redis.set.Spec.VolumeClaimTemplates) != 0 || redis.environment["INBOX_SNAPSHOT"] != "" ||
		redis.environment["INBOX_PEPPER_FILE"] != "/secrets/pepper" || redis.environment["INBOX_REDIS_PASSWORD_FILE"] != "/secrets/redis-password" {
		t.Errorf("with Redis: %+v", redis.environment)
	}

	scaled := install(t, valuesOf(t, "autoscaling"))
	if scaled.set.Spec.Replicas != nil || scaled.monitor == nil || scaled.monitor.Labels["release"] != "prometheus" || !strings.Contains(scaled.notes, "seriesQuery") {
		t.Errorf("with an autoscaler: %+v", scaled)
	}
	metric := scaled.autoscaler.Spec.Metrics[0].Pods
	if metric.Metric.Name != "inbox_receivers" || metric.Target.AverageValue.Value() != 20000 || scaled.autoscaler.Spec.ScaleTargetRef.Name != scaled.set.Name {
		t.Errorf("the autoscaler: %+v", scaled.autoscaler.Spec)
	}
	if password := string(scaled.secret.Data["redis-password"]); password != "replace me" || strings.Contains(scaled.manifest, password) {
		t.Errorf("the password is %q, or in the manifest as it is", password)
	}

	host := install(t, valuesOf(t, "hostnetwork"))
	if !host.set.Spec.Template.Spec.HostNetwork || host.environment["INBOX_TURN"] != "open" || host.environment["INBOX_TURN_IP"] != "203.0.113.5" || host.ingress != nil || len(host.services) != 2 {
		t.Errorf("on the node's network: %v", host.environment)
	}
	values := valuesOf(t, "hostnetwork")
	values["relay"].(map[string]any)["publicIP"] = ""
	values["relay"].(map[string]any)["host"] = ""
	if e := install(t, values).environment; e["INBOX_TURN_IP"] != "field status.hostIP" || e["INBOX_TURN_HOST"] != "field status.hostIP" {
		t.Errorf("without an address: %v", e)
	}
	off := install(t, map[string]any{"relay": map[string]any{"enabled": false}, "settings": map[string]any{"INBOX_ALLOW_ORIGIN": "https://app.example.com"}})
	if off.environment["INBOX_TURN"] != "off" || len(off.services) != 2 || off.environment["INBOX_ALLOW_ORIGIN"] != "https://app.example.com" {
		t.Errorf("without a relay: %v", off.environment)
	}
}

func TestRejectedValues(t *testing.T) {
	type values = map[string]any
	redis := values{"url": "redis://redis"}
	for want, v := range map[string]values{
		"additional properties 'replica' not allowed":     {"replica": 2},
		"got string, want integer":                        {"replicas": "two"},
		"set redis.url":                                   {"replicas": 2},
		"redis.url needs a pepper":                        {"redis": redis},
		"autoscaling needs Redis":                         {"autoscaling": values{"enabled": true}},
		"does not match pattern":                          {"redis": values{"url": "redis://:password@redis"}, "secret": values{"existing": "x"}},
		"minReplicas is greater":                          {"redis": redis, "secret": values{"existing": "x"}, "autoscaling": values{"enabled": true, "minReplicas": 20}},
		"set metrics.enabled":                             {"redis": redis, "secret": values{"existing": "x"}, "autoscaling": values{"enabled": true}, "metrics": values{"enabled": false}},
		"serviceMonitor needs metrics.enabled":            {"metrics": values{"enabled": false, "serviceMonitor": values{"enabled": true}}},
		"set trustedProxies":                              {"trustedProxies": []any{}},
		"needs ingress.host":                              {"ingress": values{"host": ""}},
		"set relay.host":                                  {"relay": values{"host": ""}},
		"set relay.exposure to hostNetwork":               {"relay": values{"mode": "open"}},
		"value must be one of 'closed', 'open'":           {"relay": values{"mode": "half"}},
		"invalid propertyName 'INBOX_TLS'":                {"settings": values{"INBOX_TLS": "acme"}},
		"trustedProxies/0":                                {"trustedProxies": []any{"anybody"}},
		"secret/pepper":                                   {"secret": values{"pepper": "short"}},
		"maximum: got 65,536, want 65,535":                {"service": values{"port": 65536}},
		"additional properties 'hostNetwork' not allowed": {"relay": values{"hostNetwork": true}},
		"got boolean, want string":                        {"settings": values{"INBOX_PEERJS": false}},
	} {
		_, err := render("inbox", v)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", v, err, want)
		}
	}
}

func TestTheNamesFollowTheRelease(t *testing.T) {
	for release, want := range map[string]string{"inbox": "inbox", "calls": "calls-inbox", "my-inbox": "my-inbox"} {
		rendered, err := render(release, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(rendered["inbox/templates/ingress.yaml"], fmt.Sprintf("\n  name: %s\n", want)) {
			t.Errorf("release %s: want the name %s in\n%s", release, want, rendered["inbox/templates/ingress.yaml"])
		}
	}
}

// The manifests for kubectl are the chart's output, so that there is one source.
func TestManifestsForKubectl(t *testing.T) {
	blank := regexp.MustCompile(`\n\s*\n`)
	for name, values := range map[string]string{"inbox": "default", "redis": "redis"} {
		path := filepath.Join("../kubernetes", name+".yaml")
		content, err := os.ReadFile(path)
		if err != nil && !*update {
			t.Fatal(err)
		}
		header, _, ok := strings.Cut(string(content), "\n---\n")
		if !ok || !strings.HasPrefix(header, "# ") {
			t.Fatalf("%s: want a comment, then documents", path)
		}
		want := header + "\n---\n" + blank.ReplaceAllString(install(t, valuesOf(t, values)).manifest, "\n")
		if string(content) == want {
			continue
		}
		if !*update {
			t.Errorf("%s is out of date (try: cd deploy/helm && go test -run Manifests -update)", path)
		} else if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
