package gate_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// BenchmarkVerifiedRequest is a verified request with the gate, and the same
// request without it: the difference is what the gate adds.
func BenchmarkVerifiedRequest(b *testing.B) {
	t := &testing.T{}
	s, err := bolt.Open(filepath.Join(b.TempDir(), "mfa.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := newWorld(t, backend{Store: s}, 1, newLegacy())
	c := w.browser().signIn("alice")
	next := upstream.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) error {
		rw.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(rw, "ok")
		return nil
	})
	in := gate.Input{Server: deaf("192.0.2.1")}
	host := w.nodes[0].Listener.Addr().String()
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"plain": next,
		"gate": func(rw http.ResponseWriter, r *http.Request) error {
			in.Method, in.URL = r.Method, r.URL
			_, err := w.gates[0].Serve(rw, r, in, next)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, "http://"+host+"/report", nil)
				r.Header.Set("Cookie", "mfa="+c.handle())
				rw := httptest.NewRecorder()
				if err := serve(rw, r); err != nil || rw.Code != http.StatusOK {
					b.Fatal(err, rw.Code)
				}
			}
		})
	}
}
