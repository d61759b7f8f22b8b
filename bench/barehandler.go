package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// bareHandlerCommand is the baseline for HTTP: only net/http, with prepared responses. A
// PUT sets the responses.
type bareHandlerCommand struct {
	Default bool `help:"Use a plain http.Server{}, without the limits of inbox."`
}

// bareAnswers are the prepared responses of a bare handler.
type bareAnswers struct{ Post, Get bareAnswer }

type bareAnswer struct {
	Header http.Header
	Body   []byte
	size   int // of the complete response, as observed
}

func (c *bareHandlerCommand) Run() error {
	srv := &http.Server{Handler: new(bareHandler)}
	if !c.Default {
		// The same limits as inboxhttp.NewServer.
		srv.ReadHeaderTimeout = 5 * time.Second
		srv.WriteTimeout = 35 * time.Second
		srv.IdleTimeout = 75 * time.Second
		srv.MaxHeaderBytes = 12 << 10
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	ln, err := listenBare()
	if err != nil {
		return err
	}
	return srv.Serve(ln)
}

type bareHandler struct{ answers atomic.Pointer[bareAnswers] }

func (h *bareHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch answers := h.answers.Load(); r.Method {
	case http.MethodPost:
		io.Copy(io.Discard, r.Body)
		answers.Post.write(w)
	case http.MethodGet:
		answers.Get.write(w)
	case http.MethodPut:
		set := new(bareAnswers)
		if err := json.NewDecoder(r.Body).Decode(set); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.answers.Store(set)
	}
}

func (a *bareAnswer) write(w http.ResponseWriter) {
	header := w.Header()
	maps.Copy(header, a.Header)
	if len(a.Body) > 0 {
		w.Write(a.Body)
	}
}

// prepare sets the responses of a bare handler.
func (s *bareAnswers) prepare(c *conn) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	head := "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + strconv.Itoa(len(content)) + "\r\n\r\n"
	_, err = c.must(append([]byte(head), content...), 200)
	return err
}

// bareAnswerLike returns a response with as many bytes as a.
func bareAnswerLike(a answer) bareAnswer {
	b := bareAnswer{Header: http.Header{}, Body: bytes.Clone(a.body), size: len(a.head) + len(a.body)}
	_, rest, _ := bytes.Cut(a.head, crlf)
	for line := range bytes.SplitSeq(rest, crlf) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "", "Date", "Transfer-Encoding": // added by net/http
		case "Content-Length":
			if len(a.body) > 0 {
				b.Header.Set(string(name), string(value))
			}
		default:
			b.Header.Add(string(name), string(value))
		}
	}
	return b
}
