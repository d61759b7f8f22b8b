package memstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"inbox"
	"inbox/memstore"
)

func TestSnapshotFile(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	look(t, s, "alice", start, 0)
	dir := t.TempDir()
	wantFiles := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("the directory contains %q, want %q", got, want)
		}
	}

	path := filepath.Join(dir, "snapshot")
	if err := os.WriteFile(path, []byte("an older one"), 0o666); err != nil {
		t.Fatal(err)
	}
	older, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	if err := s.Save(path, pepper); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	old := make([]byte, 100)
	if n, _ := older.Read(old); string(old[:n]) != "an older one" {
		t.Errorf("the older file was written to")
	}
	load(t, path, inbox.Limits{})
	wantFiles("snapshot")

	// A failed Save keeps the existing files and adds none.
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "by a directory"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{taken, filepath.Join(dir, "missing", "snapshot"), filepath.Join(path, "below a file")} {
		if err := s.Save(path, pepper); err == nil {
			t.Errorf("a snapshot was saved as %s", path)
		}
		wantFiles("snapshot", "taken")
	}
	load(t, path, inbox.Limits{})
}

// A crash during Save leaves a file that contains messages. The next Load or Save removes
// it.
func TestUnfinishedSnapshotIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	left := filepath.Join(filepath.Dir(path), ".snapshot.unfinished")
	leave := func() {
		if err := os.WriteFile(left, []byte("half a snapshot"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	if _, err := memstore.New(inbox.Limits{}).Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got the error %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load did not remove it: %v", err)
	}
	leave()
	if err := memstore.New(inbox.Limits{}).Save(path, pepper); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Save did not remove it: %v", err)
	}
	load(t, path, inbox.Limits{})
}

func TestSaveToAReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s, dir := memstore.New(inbox.Limits{}), t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(filepath.Join(dir, "snapshot"), pepper); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got the error %v", err)
	}
}

func TestLoadOfAMissingSnapshot(t *testing.T) {
	if _, err := memstore.New(inbox.Limits{}).Load(filepath.Join(t.TempDir(), "snapshot")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got the error %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := memstore.New(inbox.Limits{}).Load(t.TempDir()); err == nil {
		t.Errorf("a directory was loaded")
	}
}

func TestDamagedSnapshots(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	for i := range 2 {
		look(t, s, fmt.Sprint(i), start, 0)
		send(t, s, fmt.Sprint(i), fmt.Sprint(i), "k", "hello")
	}
	path := save(t, s)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantDamaged := func(what string, at int, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := memstore.New(inbox.Limits{}).Load(path); !errors.Is(err, memstore.ErrDamaged) {
			t.Errorf("%s %d: got the error %v, want %v", what, at, err, memstore.ErrDamaged)
		}
	}
	for n := range whole {
		wantDamaged("cut at", n, whole[:n])
		for _, bits := range []byte{1, 0xff} {
			flipped := slices.Clone(whole)
			flipped[n] ^= bits
			wantDamaged("flipped at", n, flipped)
		}
	}
	wantDamaged("without the first", 1, whole[1:])
	wantDamaged("longer by", 1, append(slices.Clone(whole), 0))
	wantDamaged("doubled", 2, append(slices.Clone(whole), whole...))
	wantDamaged("zeroes", len(whole), make([]byte, len(whole)))
}

// CheckSave detects what would make Save fail, before there is anything to lose.
func TestCheckSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	if err := memstore.CheckSave(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := memstore.CheckSave(path); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "a snapshot" {
		t.Errorf("the snapshot became %q, %v", content, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are there, %v", len(entries), err)
	}
	for name, make := range map[string]func(path, unfinished string) (string, error){
		"no directory": func(path, _ string) (string, error) { return filepath.Join(path, "x", "snapshot"), nil },
		"a file in place of the directory": func(path, _ string) (string, error) {
			return filepath.Join(path, "snapshot"), os.WriteFile(path, nil, 0o600)
		},
		"a directory": func(path, _ string) (string, error) { return path, os.Mkdir(path, 0o700) },
		"a device":    func(string, string) (string, error) { return os.DevNull, nil },
		"a directory with the temporary name": func(path, unfinished string) (string, error) {
			return path, os.MkdirAll(filepath.Join(unfinished, "with something in it"), 0o700)
		},
		"a read-only directory": func(path, _ string) (string, error) {
			if os.Geteuid() == 0 {
				return "", nil // root may write everywhere
			}
			return filepath.Join(path, "snapshot"), os.Mkdir(path, 0o500)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := make(filepath.Join(dir, "snapshot"), filepath.Join(dir, ".snapshot.unfinished"))
			if err != nil {
				t.Fatal(err)
			}
			if path == "" {
				t.Skip("root may write everywhere")
			}
			if err := memstore.CheckSave(path); err == nil {
				t.Error("no error")
			}
		})
	}
}
