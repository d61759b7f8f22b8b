//go:build !linux

package main

// freeSpace is known on Linux alone.
func freeSpace(string) (bytes int64, ok bool) { return 0, false }
