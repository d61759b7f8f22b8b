//go:build !linux

package inboxhttp

func socketState(int) connState { return open }
