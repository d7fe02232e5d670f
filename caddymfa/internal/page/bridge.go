package page

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// BridgeScript is the path of the script for logins by fetch and XMLHttpRequest,
// below the prefix of our routes.
const BridgeScript = "/assets/bridge.js"

// bridgeTexts are the beginnings of the names of the texts that the script shows.
var bridgeTexts = []string{"code.", "ask.", "number.", "invite.", "recovery.hint", "problem.", "title.", "message.", "resend", "cancel", "continue", "retry", "dir"}

// WriteBridge writes what the script needs to show the code step in the
// visitor's language: texts by name, and a style sheet.
func (p *Pages) WriteBridge(w http.ResponseWriter, r *http.Request, v View) {
	c := p.content(r, v)
	out := map[string]string{"lang": c.Lang, "style": string(p.assets["bridge.css"].body)}
	for key, text := range c.text {
		for _, begin := range bridgeTexts {
			if strings.HasPrefix(key, begin) {
				text = strings.NewReplacer("{digits}", strconv.Itoa(v.Digits), "{time}", c.Life(), "{countries}", c.Countries()).Replace(text)
				out[key] = text
				break
			}
		}
	}
	out["code.hint"] = c.T("code.hint", "digits", v.Digits, "time", c.Life())
	out["problem."+string(event.MalformedCode)] = c.T("problem."+string(event.MalformedCode), "digits", v.Digits)
	if len(v.Regions) > 0 {
		out["number.hint"] = c.Join(out["number.hint"], c.T("number.countries", "countries", c.Countries()))
	}
	// How long is said by pages only, which can count.
	out["problem."+string(event.TooSoon)] = c.T("problem." + string(event.UserLimit))
	out["message."+string(event.LockedOut)] = c.T("message." + string(event.LockedOut) + "_later")
	WriteJSON(w, http.StatusOK, out)
}
