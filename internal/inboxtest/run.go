package inboxtest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Run calls run in a goroutine. When the test ends, it cancels the context of run and waits
// until run returns.
func Run(tb testing.TB, run func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	tb.Cleanup(func() { stop(); running.Wait() })
}

// Files writes the certificate and its key to files that are removed when the test ends.
func (c Certificate) Files(tb testing.TB) (cert, key string) {
	tb.Helper()
	dir := tb.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, content := range map[string][]byte{cert: c.Cert, key: c.Key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return cert, key
}
