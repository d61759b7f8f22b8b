package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"inbox/internal/redistest"
)

// A password with reserved characters works unencoded from the environment and from a
// file, and percent-encoded in the URL. It is never logged.
func TestRedisPassword(t *testing.T) {
	const password = "p#s/s?@%41 Kanari"
	redis := redistest.Start(t)
	redis.Must("CONFIG", "SET", "requirepass", password)
	dir := t.TempDir()
	file, pepper := filepath.Join(dir, "password"), filepath.Join(dir, "pepper")
	for path, content := range map[string]string{file: password + "\n", pepper: strings.Repeat("0123456789", 4)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := "--store=redis://" + redis.Addr
	encoded := "--store=redis://" + (&url.URL{User: url.UserPassword("default", password), Host: redis.Addr}).String()[2:]
	for name, flags := range map[string][]string{
		"from the environment":           {store},
		"from a file":                    {store, "--redis-password-file=" + file},
		"percent-encoded in the address": {encoded},
	} {
		t.Run(name, func(t *testing.T) {
			if len(flags) == 1 && flags[0] == store {
				t.Setenv(redisPassword, password)
			}
			r := serve(t, append(flags, "--pepper-file="+pepper, "--drain=0s", "--log-level=debug")...)
			r.end(t)
			if strings.Contains(r.log.String(), "Kanari") {
				t.Errorf("the log shows the password:\n%s", r.log)
			}
		})
	}
	t.Run("wrong", func(t *testing.T) {
		t.Setenv(redisPassword, "Kanari")
		said := refused(t, store, "--pepper-file="+pepper)
		if strings.Contains(said, "Kanari") || !strings.Contains(said, "redis cannot be reached") {
			t.Errorf("the error is %q", said)
		}
	})
}
