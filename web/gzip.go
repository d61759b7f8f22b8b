package web

import (
	"bytes"
	"compress/gzip"
	"strings"
)

// compress is done once, at the start: the files never change.
func compress(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic("web: " + err.Error()) // there is such a level
	}
	w.Write(content)
	w.Close() // neither fails: a buffer takes everything
	return b.Bytes()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3). A client that says
// nothing of gzip gets none: not every one that may be sent it can read it.
func acceptsGzip(accept string) bool {
	for coding := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, weighted := strings.CutPrefix(strings.ToLower(strings.TrimSpace(weight)), "q=")
		return !weighted || strings.Trim(q, "0.") != ""
	}
	return false
}
