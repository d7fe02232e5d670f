package gate_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// words is the last text to a number.
func (p *inbox) words(number string) (text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.texts {
		if m.To == number {
			text = m.Text
		}
	}
	return text
}

func TestTheLanguageIsRememberedWithTheNumber(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in := func(language string) *client {
			return w.browser().get("/login").post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Accept-Language", language).to("/mfa")
		}
		says := func(what, words string) {
			t.Helper()
			if text := w.phones.words(numbers["alice"]); !strings.Contains(text, words) {
				t.Errorf("%s: %q", what, text)
			}
		}
		const german, polish, english = "Nie weitergeben", "Nikomu go nie podawaj", "Never share it"
		c := in("de-AT,de;q=0.9,en;q=0.5")
		c.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
		says("the first login", german)
		c.code(w.phones.last(t, "alice")).in("alice")
		// Who is met in a language gets the text in that; a program has none.
		in("pl")
		says("a browser in another language", polish)
		in("")
		says("a program", german)
		in("*")
		says("a program that says so", german)
		in("hu")
		says("a language that nobody has written", english)
		// Nobody is there to be met in a language when an operator acts.
		if err := w.flow().Reset(t.Context(), operator("alice")); err != nil {
			t.Fatal(err)
		}
		says("a notice", "Der Helpdesk hat Ihre Anmeldecodes zurückgesetzt")
	}, byThemselves)
}
