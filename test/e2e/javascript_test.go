package e2e

import "testing"

// TestJavaScriptInterface walks pages that were written for LoginRadius' browser
// interface, with the script that the gate serves in its place, against a stand-in
// for the API.
func TestJavaScriptInterface(t *testing.T) {
	runChromium(t, "loginradius.mjs")
}
