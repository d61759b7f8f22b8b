package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// nginxConfig configures a proxy with keep-alive connections to the server. It runs on
// the cores of the load, so its cost is not counted.
const nginxConfig = `daemon off;
pid %[1]s/pid;
error_log %[1]s/log crit;
worker_rlimit_nofile 60000;
events { worker_connections 50000; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000;
  upstream server {
    server %[2]s;
    keepalive 20000;
    keepalive_requests 1000000;
  }
  server {
    listen %[3]s;
    location / {
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_next_upstream off;
    }
  }
}
`

// behindNginx puts nginx in front of a server until the server is stopped.
func (e *env) behindNginx(p *process) error {
	dir, err := os.MkdirTemp("", "inbox-bench-nginx")
	if err != nil {
		return err
	}
	p.stopped = func() { os.RemoveAll(dir) }
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := ln.Addr().String()
	ln.Close()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, p.addr, addr), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(e.ctx, e.Nginx, "-p", dir, "-c", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := pinned(e.load, e.load, cmd.Start); err != nil {
		return fmt.Errorf("cannot start nginx: %w", err)
	}
	p.stopped = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		os.RemoveAll(dir)
	}
	p.addr = addr
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("nginx does not listen on %s", addr)
}
