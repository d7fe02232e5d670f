// Command demo runs the old-fashioned application of package demoapp behind the
// gate, in one process: open the address it prints, sign in, and read the code
// in its output.
package main

import (
	_ "embed"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddymfa/caddymfa/caddymfa"
	"github.com/caddymfa/caddymfa/test/demoapp"
)

func main() {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: demoapp.New(), ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(srv.Serve(app)) }()

	dir, err := os.MkdirTemp("", "caddymfa-demo-")
	if err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("DEMO_PORT")
	if port == "" {
		port = "8080"
	}
	// Caddy would share the port with another Caddy that has it, and requests would
	// go to either.
	free, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatalf("port %s is taken: end what listens there, or choose another one: DEMO_PORT=8081 make demo", port)
	}
	_ = free.Close()
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(demoapp.Caddyfile), 0o600); err != nil {
		log.Fatal(err)
	}
	for k, v := range map[string]string{"DEMO_DATA": dir, "DEMO_PORT": port, "DEMO_UPSTREAM": app.Addr().String()} {
		if err := os.Setenv(k, v); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf(`
The application behind the gate:  http://localhost:%s/
Sign in as                        alice / Alice-pw-1   (or bob / Bob-pw-2)
Give any mobile number            e.g. +44 7400 123456: nothing is sent
Read the code below               in the line "this text was not sent"

The application without the gate: http://%s/

`, port, app.Addr())
	os.Args = []string{"caddymfa", "run", "--config", config, "--adapter", "caddyfile"}
	caddycmd.Main()
}
