// Command demo runs the old-fashioned application of package demoapp behind the
// gate, in one process: open the address it prints, sign in, and read the code
// in its output. It listens on the loopback address only.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/nyaruka/phonenumbers"

	_ "github.com/caddymfa/caddymfa/caddymfa"
	"github.com/caddymfa/caddymfa/test/demoapp"
)

func main() {
	app, err := serve(demoapp.New())
	if err != nil {
		log.Fatal(err)
	}
	phones, err := serve(http.HandlerFunc(receive))
	if err != nil {
		log.Fatal(err)
	}
	port, err := freePort(os.Getenv("DEMO_PORT"))
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "caddymfa-demo-")
	if err != nil {
		log.Fatal(err)
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(demoapp.Caddyfile), 0o600); err != nil {
		log.Fatal(err)
	}
	for k, v := range map[string]string{
		"DEMO_DATA": dir, "DEMO_PORT": port, "DEMO_UPSTREAM": app, "DEMO_SMS": "http://" + phones + "/",
		"DEMO_COUNTRIES": strings.Join(countries(), " "),
	} {
		if err := os.Setenv(k, v); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf(`
The application behind the gate:  http://localhost:%s/
Sign in as                        alice / Alice-pw-1   (or bob / Bob-pw-2)
Give any mobile number            e.g. +44 7400 123456: no text is sent, the code appears here
The application without the gate: http://%s/

End with Ctrl-C.

`, port, app)
	err = run(config)
	if gone := os.RemoveAll(dir); err == nil {
		err = gone
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run runs Caddy until somebody ends it.
func run(config string) error {
	ended, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	text, _, _, err := caddycmd.LoadConfig(config, "caddyfile")
	if err != nil {
		return err
	}
	if err := caddy.Load(text, false); err != nil {
		return err
	}
	<-ended.Done()
	return caddy.Stop()
}

// serve serves h at a free port of the loopback address, which it returns.
func serve(h http.Handler) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(srv.Serve(l)) }()
	return l.Addr().String(), nil
}

// freePort is the port that was asked for, or the first free one from 8080 on. Caddy
// would share a taken one with another Caddy that has it, and requests would go to
// either.
func freePort(wanted string) (string, error) {
	ports := []string{wanted}
	if wanted == "" {
		ports = nil
		for p := 8080; p < 8100; p++ {
			ports = append(ports, fmt.Sprint(p))
		}
	}
	for _, p := range ports {
		any, err := net.Listen("tcp", ":"+p) // also taken where only another address is
		if err == nil {
			return p, any.Close()
		}
	}
	return "", errors.New("port " + strings.Join(ports, ", ") + ": taken; end what listens there, or choose another one: DEMO_PORT=9080 make demo")
}

// countries are all that have telephone numbers.
func countries() (codes []string) {
	for code := range phonenumbers.GetSupportedRegions() {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return codes
}

var digits = regexp.MustCompile(`\b\d{6,10}\b`)

// receive takes the texts that the gate sends, and shows them.
func receive(w http.ResponseWriter, r *http.Request) {
	var text struct{ To, Text string }
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil || json.Unmarshal(body, &text) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	line := strings.Repeat("=", 64)
	fmt.Printf("\n%s\n  Text to %s:\n\n", line, text.To)
	for l := range strings.Lines(text.Text) {
		fmt.Println("    " + strings.TrimRight(l, "\n"))
	}
	if code := digits.FindString(text.Text); code != "" {
		fmt.Printf("\n  THE CODE IS  %s\n", code)
	}
	fmt.Printf("%s\n\n", line)
	w.WriteHeader(http.StatusNoContent)
}
