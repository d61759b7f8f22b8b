package web

import (
	"bytes"
	"compress/gzip"
	"strings"
)

// compress returns content, compressed with gzip.
func compress(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic("web: " + err.Error()) // BestCompression is valid
	}
	w.Write(content)
	w.Close() // writing to a bytes.Buffer cannot fail
	return b.Bytes()
}

// acceptsGzip reports whether Accept-Encoding (RFC 9110, section 12.5.3) names gzip and does
// not refuse it. "*" or a missing header do not count: not every such client can decode gzip.
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
