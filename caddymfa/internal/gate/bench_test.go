package gate_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
)

// BenchmarkVerifiedRequest is what the gate adds to a verified request.
func BenchmarkVerifiedRequest(b *testing.B) {
	t := &testing.T{}
	s, err := bolt.Open(filepath.Join(b.TempDir(), "mfa.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := newWorld(t, backend{Store: s}, 1, newLegacy())
	c := w.browser().signIn("alice")
	next := func(rw http.ResponseWriter, _ *http.Request) error {
		rw.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(rw, "ok")
		return nil
	}
	in := gate.Input{ClientIP: "192.0.2.1", Server: deaf{}}
	host := w.nodes[0].Listener.Addr().String()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/report", nil)
		r.Header.Set("Cookie", "mfa="+c.handle())
		u := *r.URL
		in.Method, in.URL = r.Method, &u
		rw := httptest.NewRecorder()
		if _, err := w.gates[0].Serve(rw, r, in, next); err != nil || rw.Code != http.StatusOK {
			b.Fatal(err, rw.Code)
		}
	}
}
