package sms

import (
	"embed"
	"encoding/json"
	"sync"

	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
)

// Notice is what an owner of a number is told without having asked.
type Notice string

// The notices.
const (
	Locked    Notice = "locked"    // too many wrong codes
	Changed   Notice = "changed"   // to the old number: codes go elsewhere now
	Added     Notice = "added"     // to the new number
	Removed   Notice = "removed"   // the user has turned the texts off
	Recovered Notice = "recovered" // somebody signed in with a recovery code
	WasReset  Notice = "reset"     // an operator has taken the second factor away
	NewCodes  Notice = "codes"     // recovery codes were made
)

// files are the texts without configuration, one for each language: code, and the
// notices by their names. The code comes first, for the preview on a locked screen;
// there is no link. Where the alphabet is GSM-7, each is one segment with an
// application name and a host of 30 characters; Czech, Polish, Portuguese and Turkish
// do without their accents for that, as is usual in texts there. In other alphabets
// a segment is 70 characters, and that takes two.
//
//go:embed texts/*.json
var files embed.FS

// wordings are these texts by language, and the languages to choose from.
type wordings struct {
	codes   map[string]string
	notices map[Notice]map[string]string
	langs   *lang.Matcher
}

// builtIn reads them when the first text is wanted: most commands of the binary want
// none. It panics on what this package's tests refuse, a file that is missing or no
// JSON.
var builtIn = sync.OnceValue(func() wordings {
	w := wordings{map[string]string{}, map[Notice]map[string]string{}, lang.NewMatcher(lang.BuiltIn)}
	for _, l := range lang.BuiltIn {
		b, err := files.ReadFile("texts/" + l + ".json")
		if err != nil {
			panic(err)
		}
		texts := map[Notice]string{}
		if err := json.Unmarshal(b, &texts); err != nil {
			panic(err)
		}
		for what, text := range texts {
			if what == "code" {
				w.codes[l] = text
				continue
			}
			if w.notices[what] == nil {
				w.notices[what] = map[string]string{}
			}
			w.notices[what][l] = text
		}
	}
	return w
})
