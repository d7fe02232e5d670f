package e2e

import (
	"net/http/httptest"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// TestJavaScriptInterface walks pages that were written for LoginRadius' browser
// interface, with the script that the gate serves in its place, against a stand-in
// for the API.
func TestJavaScriptInterface(t *testing.T) {
	runChromium(t, "loginradius.mjs")
}

// TestJavaScriptInterfaceAndAPI is such a page in front of the gate's own API.
func TestJavaScriptInterfaceAndAPI(t *testing.T) {
	for _, policy := range []string{"required", "optional"} {
		t.Run(policy, func(t *testing.T) {
			app := httptest.NewServer(demoapp.New())
			t.Cleanup(app.Close)
			block := apiBlock + "\n\t\tpolicy " + policy
			g := startGate(t, freePort(t), app.Listener.Addr().String(), block, "api {\n\t\t\tkey "+apiKey+"\n\t\t}")
			g.chromium(t, "loginradius-gate.mjs", g.url, apiKey, policy)
		})
	}
}
