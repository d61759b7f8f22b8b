package main

import (
	"errors"
	"strconv"

	"github.com/alecthomas/units"
)

// size is a number of bytes, as in 65536 or 64KiB. KB, MB and GB mean the same as KiB,
// MiB and GiB.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*s = size(n)
		return nil
	}
	n, err := units.ParseBase2Bytes(string(text))
	if err != nil {
		return errors.New("a size is a number of bytes, as in 65536, or of KiB, MiB or GiB, as in 64KiB (64KB means the same)")
	}
	*s = size(n)
	return nil
}

func (s size) String() string { return units.Base2Bytes(s).String() }
