//go:build !linux

package main

// freeSpace is only implemented on Linux.
func freeSpace(string) (bytes int64, ok bool) { return 0, false }
