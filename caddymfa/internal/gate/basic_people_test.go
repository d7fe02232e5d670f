package gate_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// A script's call is told that a password is missing or wrong, and the browser is
// not asked to open its own window for one.
func TestPeople_P23_NoPasswordWindowForScripts(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		script := []string{"Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}
		old := []string{"Accept", "text/html, */*", "X-Requested-With", "XMLHttpRequest"}
		for what, head := range map[string][]string{
			"nothing":             script,
			"nothing, old script": old,
			"a wrong password":    append(script, "Authorization", basicAuth("alice", "no")),
			"wrong, old script":   append(old, "Authorization", basicAuth("alice", "no")),
		} {
			if c := w.browser().get("/home", head...); c.status != http.StatusUnauthorized || c.head.Get("WWW-Authenticate") != "MFA" {
				t.Errorf("%s: %d %v", what, c.status, c.head)
			}
		}
		for what, head := range map[string][]string{"nothing": nil, "a wrong password": {"Authorization", basicAuth("alice", "no")}} {
			if c := w.browser().get("/home", head...); c.status != http.StatusUnauthorized || !strings.HasPrefix(c.head.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s, a person: %d %v", what, c.status, c.head)
			}
		}
		// The challenge says that its text waits to be asked for.
		var owed struct {
			Waits  bool   `json:"text_waits"`
			Unsent string `json:"text_unsent"`
		}
		c := w.browser().get("/home", append(script, "Authorization", basicAuth("alice", "pw-a"))...)
		if err := json.Unmarshal([]byte(c.body), &owed); err != nil || c.status != http.StatusForbidden || !owed.Waits || owed.Unsent != "" || w.phones.count() != 0 {
			t.Errorf("the challenge: %d %s, %d texts", c.status, c.body, w.phones.count())
		}
		c.do(http.MethodPost, "/mfa/resend", "{}", "Content-Type", "application/json")
		c.do(http.MethodPost, "/mfa/verify", `{"otp":"`+w.phones.last(t, "alice")+`","release":"answer"}`, "Content-Type", "application/json")
		if c.status != http.StatusOK || c.head.Get("X-Mfa") == "released" {
			t.Errorf("the code: %d %v %s", c.status, c.head, c.body)
		}
		// The same call once more, which is what the bridge does then.
		if c.get("/home", append(script, "Authorization", basicAuth("alice", "pw-a"))...); c.body != marker+" of alice" {
			t.Errorf("once more: %d %s", c.status, c.body)
		}
	}, overBasic)
}

// A text that could not be sent does not wait to be asked for.
func TestPeople_P23_TheChallengeSaysWhyThereIsNoText(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.phones.fail = errors.New("the gateway is away")
		c := w.browser().do(http.MethodPost, "/api/login", "user=alice&password=pw-a", "Accept", "application/json")
		if strings.Contains(c.body, "text_waits") || !strings.Contains(c.body, `"text_unsent":"gateway_unavailable"`) {
			t.Errorf("%d %s", c.status, c.body)
		}
	})
}
