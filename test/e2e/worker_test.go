package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// keeping is a service worker that shows a page that it has kept for every
// navigation.
const keeping = `const isStrict = (function () { return this === undefined; })();
self.addEventListener('install', (e) => e.waitUntil(caches.open('x').then((c) => c.add('/shell.css')).then(() => self.skipWaiting())));
self.addEventListener('activate', (e) => e.waitUntil(self.clients.claim()));
self.addEventListener('message', (e) => e.source.postMessage(isStrict));
self.addEventListener('fetch', (e) => { if (e.request.mode === 'navigate') e.respondWith(caches.match('/shell.css')); });`

// TestPeople_P11_ServiceWorker signs in and out in Chromium, under such a worker.
func TestPeople_P11_ServiceWorker(t *testing.T) {
	demo := demoapp.New()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Service-Worker-Allowed", "/")
		switch r.URL.Path {
		case "/sw.js", "/module/sw.js":
			w.Header().Set("Content-Type", "application/javascript")
			_, _ = io.WriteString(w, keeping)
		case "/strict/sw.js":
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			_, _ = io.WriteString(w, "/* mine */\n'use strict';\n"+keeping)
		case "/shell.css": // a page, where the gate lets it through before a login
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!doctype html><title>Shell</title><h1>Kept</h1>")
		default:
			demo.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(app.Close)
	g := startGate(t, freePort(t), app.Listener.Addr().String(), demoBlockDirectory, "")
	g.chromium(t, "worker.mjs", g.url)
}
