package main

import (
	"net/http"
	"sync"

	"github.com/lxzan/gws"
)

// gwsRelayCommand is the baseline for WebSockets without TLS, as written by a user of a
// fast library. Like the bare relay, it forwards messages between two partners.
type gwsRelayCommand struct{}

func (c *gwsRelayCommand) Run() error {
	ln, err := listenBare()
	if err != nil {
		return err
	}
	relay := &gwsRelay{alone: map[string]*gws.Conn{}}
	return gws.NewServer(relay, &gws.ServerOption{
		SubProtocols: []string{"inbox.v1"},
		NewSession:   func() gws.SessionStorage { return new(gwsSide) },
		Authorize: func(r *http.Request, session gws.SessionStorage) bool {
			session.(*gwsSide).path = r.URL.Path
			return true
		},
	}).RunListener(ln)
}

type gwsRelay struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex           // guards alone and every partner
	alone map[string]*gws.Conn // by path: the first partner
}

// gwsSide is the session of a connection. It implements gws.SessionStorage but stores
// nothing there.
type gwsSide struct {
	path    string
	partner *gws.Conn
}

func (*gwsSide) Len() int                     { return 0 }
func (*gwsSide) Load(string) (any, bool)      { return nil, false }
func (*gwsSide) Delete(string)                {}
func (*gwsSide) Store(string, any)            {}
func (*gwsSide) Range(func(string, any) bool) {}

func (r *gwsRelay) OnOpen(c *gws.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	side := c.Session().(*gwsSide)
	if first := r.alone[side.path]; first != nil {
		side.partner, first.Session().(*gwsSide).partner = first, c
		delete(r.alone, side.path)
	} else {
		r.alone[side.path] = c
	}
}

func (r *gwsRelay) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	r.mu.Lock()
	partner := c.Session().(*gwsSide).partner
	r.mu.Unlock()
	if partner == nil {
		c.WriteClose(1000, []byte("a frame arrived before the partner"))
		return
	}
	partner.WriteMessage(message.Opcode, message.Bytes())
}
