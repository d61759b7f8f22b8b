//go:build !unix

package main

import "os"

// lockFile does nothing on this platform. The operator must wait for the previous server
// to end.
func lockFile(*os.File) error { return nil }
