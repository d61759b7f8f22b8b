package main

import (
	"errors"
	"strconv"

	"github.com/alecthomas/units"
)

// size is a number of bytes, as in 65536 or 64KiB. KB, MB and GB are synonyms for KiB,
// MiB and GiB.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*s = size(n)
		return nil
	}
	n, err := units.ParseBase2Bytes(string(text))
	if err != nil {
		return errors.New("invalid size, want bytes, as in 65536, or KiB, MiB or GiB, as in 64KiB")
	}
	*s = size(n)
	return nil
}

func (s size) String() string { return units.Base2Bytes(s).String() }
