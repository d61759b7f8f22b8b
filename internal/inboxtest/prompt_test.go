package inboxtest

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A server sees the end of a closed connection even while another process holds a copy of
// its descriptor.
func TestPromptEndsInheritedConnection(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			client, err := net.Dial(network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			server, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			inherited, err := client.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			defer inherited.Close()
			if err := Prompt(client).Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the server reads %d bytes, %v; want the end", n, err)
			}
		})
	}
}
