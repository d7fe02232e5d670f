package differential

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// watched are the names of the fields that rules ask for here: plain ones, and
// bracketed ones as Rails, Yii and Adminer have them.
var watched = []string{"user", "password", "user[login]", "user[password]"}

// readings are the values that an application could read: by source (query,
// body, both, json) and by name.
type readings map[string]map[string][]string

// difference is a field that an application reads otherwise than the gate.
type difference struct {
	name, source string
	state        intake.State // what the gate says of it
	value, got   string
}

func (d *difference) String() string {
	if d.state == intake.Exact {
		return fmt.Sprintf("%s: the gate reads %q, the application %q in %s", d.name, d.value, d.got, d.source)
	}
	return fmt.Sprintf("%s: the gate finds none, the application %q in %s", d.name, d.got, d.source)
}

// like: the same mistake, and one that still tells something.
func (d *difference) like(o *difference) bool {
	return d != nil && d.source == o.source && d.state == o.state && (d.got == "") == (o.got == "")
}

// kind tells finds apart roughly, by what kind of request they are in.
func (d *difference) kind(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return fmt.Sprint(d.source, d.state, d.got == "", media)
}

// differs finds what an application reads otherwise than the gate did; nil for
// nothing.
func differs(f *intake.Form, app readings) *difference {
	for _, name := range watched {
		if d := field(f, app, name); d != nil {
			return d
		}
	}
	for _, name := range []string{"user", "password"} {
		if d := jsonField(f, app, name); d != nil {
			return d
		}
	}
	return nil
}

// field: what the gate calls Exact is what every source of the application that
// has the name says; what it calls Absent is nowhere; Ambiguous is refused.
func field(f *intake.Form, app readings, name string) *difference {
	value, state := f.Lookup(intake.Any, name)
	if state == intake.Ambiguous {
		return nil
	}
	elsewhere := "" // the source where the application must find nothing
	if state == intake.Exact {
		elsewhere = "query"
		if _, state := f.Lookup(intake.Body, name); state != intake.Exact {
			elsewhere = "body"
		}
	}
	for _, source := range []string{"query", "body", "both"} {
		for _, got := range app[source][name] {
			if state == intake.Absent || source == elsewhere || got != value && !foreign(value) {
				return &difference{name, source, state, value, got}
			}
		}
	}
	return nil
}

// foreign: a value in another encoding than UTF-8, which passes as it came (attack
// K25). Parsers that decode make of it what they like; both have found it. Where
// nothing but the request says who it is, such a name is refused (attack K9).
func foreign(value string) bool { return !utf8.ValidString(value) }

// jsonLogin is the rule of a login by JSON.
var jsonLogin = func() login.Rules {
	r, err := login.Config{
		AnyPath: true, JSON: &match.Pair{Name: "user"}, User: &login.User{Source: login.JSON, Name: "user"}, Password: &login.Field{Source: login.JSON, Name: "password"},
		Identity: &login.Identity{Path: "/", JSON: "name"},
	}.Compile()
	if err != nil {
		panic(err)
	}
	return login.Rules{r}
}()

// matchJSON holds a request against the rule of a login by JSON; jsonReason is why it
// is refused there, "" where it is not.
func matchJSON(f *intake.Form) (login.Rules, event.Reason) {
	return jsonLogin.Match(&login.Request{Request: &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/login"}, ContentLength: 1}, Path: "/login", Canonical: true}, f)
}

func jsonReason(f *intake.Form) event.Reason {
	_, reason := matchJSON(f)
	return reason
}

// jsonField: the same for a JSON body, and for an application that merges it
// with the query (attack K10).
func jsonField(f *intake.Form, app readings, name string) *difference {
	rules, refused := matchJSON(f)
	state := f.JSONState(name)
	if refused != "" || state == intake.Ambiguous {
		return nil
	}
	value, text := f.JSONText(name)
	if _, err := strconv.ParseFloat(value, 64); err == nil && name == "password" {
		return nil // written as it likes by every application; a name that is a number must be the same everywhere
	}
	for _, source := range []string{"json", "query", "body", "both"} {
		if source != "json" && len(rules) == 0 {
			break // no login by JSON: the form's fields count by themselves
		}
		for _, got := range app[source][name] {
			if state == intake.Absent || text && got != value {
				return &difference{name, source + " beside JSON", state, value, got}
			}
		}
	}
	return nil
}

// lost is the name of a field that the gate read and the application does not
// find: nobody gets in by that, and an honest person does not either.
func lost(f *intake.Form, app readings) string {
	for _, name := range watched {
		value, state := f.Lookup(intake.Any, name)
		if state != intake.Exact || value == "" || strings.ContainsRune(value, 0) {
			continue
		}
		if !slices.ContainsFunc([]string{"query", "body", "both"}, func(source string) bool { return len(app[source][name]) > 0 }) {
			return name
		}
	}
	return ""
}
