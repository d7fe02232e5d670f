package match

import "testing"

// TestAttack_K22_Anchored: a text that somebody wrote, escaped as applications
// do, must not be what a pattern finds.
func TestAttack_K22_Anchored(t *testing.T) {
	for pattern, want := range map[string]bool{
		`id="loggedas">[^<]*<a [^>]*>([^<]+)</a>`:                    true,
		`id="user_login" value="([^"]+)"`:                            true,
		`logged_in:true,[^}]*,user:"((?:[^"\\]|\\.)+)"`:              true,
		`(?:class="user">[^<]*\(<bdi>|<input [^>]* value=")([^<"]+)`: true,
		`<p>I am ([^<.]+)\.`:                                         true,
		`id=user>([^<]+)<`:                                           true,
		`name=["']([^"']+)`:                                          true,
		`class="user">(?:<img [^>]*>)?\s*([^<]+)`:                    true,
		`([^<]+)</b> <a href="/logout">`:                             true,
		`^(\w+)\s*$`:                                                 true,
		`\\"name\\":\\"([^"\\]+)`:                                    true,
		`I am ([^.]*)\.`:                                             false,
		`Signed in as ([^<]+)`:                                       false, // < ends every text
		`>Signed in as ([^<]+)<`:                                     false, // and > begins it
		`You're signed in as (\w+)`:                                  false,
		`user=(\w+)`:                                                 false,
		`(?s)<body>.*Signed in as ([^<]+)`:                           false, // far away
		`<a class=x [^>]*>(?s:.)*?Signed in as ([^<]+)`:              false,
		`class=x [^>]*>([^<]+)`:                                      false, // [^>]* begins a tag as well
		`(?m)^Signed in as (\w+)$`:                                   false,
		`(?:<b>|Signed in as )(\w+)`:                                 false, // one alternative is enough
		`(?:<b>)?Signed in as (\w+)`:                                 false,
		`(.*)`:                                                       false,
		`Hello, ([^<]+)</a>`:                                         false, // in every link
		`(?:aa|bb|cc)(?:aa|bb|cc)(?:aa|bb|cc)(?:aa|bb|cc)(?:aa|bb|cc)(?:aa|bb|cc)(\w)`: true, // more than is looked at
	} {
		if got := AnchoredGroup(pattern); got != want {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
	}
	for pattern, want := range map[string]bool{
		`<input [^>]*name="password"`:   true,
		`<div id="login_error"`:         true,
		`^OK$`:                          true,
		`"status": ?"ok"`:               true,
		`(?s)<form.*<p class="error">`:  true,
		`(?s)<p class="error">.*</html`: true,
		`Wrong password`:                false,
		`(?i)(invalid|wrong)`:           false,
		`(?s)<form.*Wrong password`:     false,
		`<b>Wrong|Bad`:                  false,
		`can't sign you in`:             false,
		`.*`:                            false,
	} {
		if got := Anchored(pattern); got != want {
			t.Errorf("body %s: %v, want %v", pattern, got, want)
		}
	}
}
