package inbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"inbox"
)

func newPepper() *inbox.Pepper { return inbox.NewPepper([inbox.PepperSize]byte{1, 2, 3}) }

func TestSecretIsNeverPrinted(t *testing.T) {
	secret := newPepper().Secret("alice", "password")
	peer := inbox.Peer{ID: "alice", Secret: secret}
	printed := map[string]string{}
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%g", "%99v", "%-9.3x", "%z", "no verb",
	} {
		printed[verb] = fmt.Sprintf(verb, secret)
		printed["pointer "+verb] = fmt.Sprintf(verb, &secret)
		printed["peer "+verb] = fmt.Sprintf(verb, peer)
		printed["pointer to a peer "+verb] = fmt.Sprintf(verb, &peer)
		printed["slice "+verb] = fmt.Sprintf(verb, []any{secret, []inbox.Secret{secret}, map[inbox.Secret]int{secret: 1}})
	}
	printed["print"] = fmt.Sprint(secret, &secret, peer)
	printed["println"] = fmt.Sprintln(secret)
	printed["error"] = fmt.Errorf("failed for %v: %w", peer, io.EOF).Error()

	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"slog text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"slog json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).With("before", secret).WithGroup("in a group").Info("log",
			"secret", secret, "pointer", &secret, "peer", peer, "pointer to a peer", &peer,
			"slice", []inbox.Secret{secret}, "map", map[string]any{"secret": secret}, slog.Group("group", "secret", secret))
		printed[name] = b.String()
	}
	for name, v := range map[string]any{
		"secret": secret, "pointer": &secret, "peer": peer, "slice": []inbox.Secret{secret}, "key": map[inbox.Secret]int{secret: 1},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json %s: %v", name, err)
		}
		printed["json "+name] = string(b)
	}
	b, err := xml.Marshal(peer)
	if err != nil {
		t.Error(err)
	}
	printed["xml"] = string(b)

	for how, s := range printed {
		if shows(s, secret) {
			t.Errorf("%s: %s", how, s)
		}
		if !strings.Contains(s, "[secret]") && !strings.HasPrefix(how, "pointer") {
			t.Errorf("%s is %q, without a placeholder", how, s)
		}
	}
	// Make sure that shows recognizes a secret that is printed.
	for _, verb := range []string{"%v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%U"} {
		if s := fmt.Sprintf(verb, [32]byte(secret)); !shows(s, secret) {
			t.Errorf("the test would not notice %s: %s", verb, s)
		}
	}
}

// shows reports whether s contains four consecutive bytes of the secret in any notation.
func shows(s string, secret inbox.Secret) bool {
	s = strings.ToLower(s)
	for i := range len(secret) - 4 {
		part := secret[i : i+4]
		for _, form := range []string{
			string(part), fmt.Sprintf("%d", part), fmt.Sprintf("%x", part), fmt.Sprintf("% x", part), fmt.Sprintf("%#v", part),
			fmt.Sprintf("%q", part), fmt.Sprintf("%o", part), fmt.Sprintf("%b", part), fmt.Sprintf("%U", part),
			hex.EncodeToString(part), base64.StdEncoding.EncodeToString(part)[:5],
		} {
			form = strings.TrimSuffix(strings.TrimPrefix(form, "[]byte{"), "}")
			if strings.Contains(s, strings.ToLower(strings.Trim(form, `[]"`))) {
				return true
			}
		}
	}
	return false
}

func TestSecretEqual(t *testing.T) {
	p := newPepper()
	a := p.Secret("alice", "password")
	if !a.Equal(p.Secret("alice", "password")) {
		t.Error("a secret does not equal itself")
	}
	for i := range len(a) * 8 {
		b := a
		b[i/8] ^= 1 << (i % 8)
		if a.Equal(b) {
			t.Errorf("secrets that differ only in bit %d are equal", i)
		}
	}
}

func TestSecretDependsOnKeyIDAndPassword(t *testing.T) {
	type made struct {
		pepper       *inbox.Pepper
		id, password string
	}
	p, other := newPepper(), inbox.NewPepper([inbox.PepperSize]byte{})
	long, longest := strings.Repeat("x", inbox.MaxID-1), strings.Repeat("x", inbox.MaxID)
	seen := map[inbox.Secret]made{}
	for _, m := range []made{
		{p, "a", "bc"}, {p, "ab", "c"}, {p, "abc", ""}, {p, "", "abc"}, {p, "a", "b"}, {p, "A", "bc"},
		{p, "a", "bc\x00"}, {p, "a\x00", "bc"}, {p, "a:b", "c"}, {p, "a", "b:c"}, {p, "", ""},
		{p, long, "xx"}, {p, longest, "x"}, {p, longest, strings.Repeat("x", inbox.MaxPassword)},
		{other, "a", "bc"}, {other, "ab", "c"},
	} {
		secret := m.pepper.Secret(m.id, m.password)
		if was, ok := seen[secret]; ok {
			t.Errorf("%+v and %+v have the same secret", was, m)
		}
		seen[secret] = m
		if again := inbox.NewPepper(m.pepper.Key()).Secret(m.id, m.password); again != secret {
			t.Errorf("%+v: a pepper with the same key returns another secret", m)
		}
	}
}

func TestPepperIsSafeForConcurrentUse(t *testing.T) {
	p := newPepper()
	var peers sync.WaitGroup
	for i := range 8 {
		id := fmt.Sprint(i)
		want := p.Secret(id, "password")
		peers.Go(func() {
			for range 500 {
				if p.Secret(id, "password") != want {
					t.Error("the same id and password returned another secret")
					return
				}
			}
		})
	}
	peers.Wait()
}
