package caddymfa

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI serves /mfa/ on Caddy's admin endpoint, for operators and for the
// commands "caddymfa mfa users". Answers are JSON; every act is an audit line of
// the event operator.
//
//	GET  /mfa/apps                  the applications, by name
//	POST /mfa/users/list            {app}                   names of the users the gate keeps something of
//	POST /mfa/users/show            {app, user}             what it keeps; the number is masked
//	POST /mfa/users/set-phone       {app, user, phone, by}  a number that the operator vouches for
//	POST /mfa/users/reset           {app, user, by}         takes the second factor away, with everything that belongs to it
//	POST /mfa/users/unlock          {app, user, by}         forgets wrong codes
//	POST /mfa/users/help-desk-code  {app, user, by}         a code for one login within an hour, shown here only
//	POST /mfa/users/invite          {app, user, by}         a code by which the user names a number within a week (enroll invite)
//	POST /mfa/users/end-sessions    {app, user, by}         ends all sessions
//	POST /mfa/users/alias           {app, user, alias, by}  another name of the same user
//	GET  /mfa/store                                         whether the store is the one that it was, and enrolment open
//	POST /mfa/store/confirm         {by}                    lets people name a first number again, after the store has lost what it held
//
// The users of a host of a wildcard site are those of the app "<app>@<host>". app may be left out where there is one application. Errors have Caddy's form,
// {"error": "…"}, with status 400, 404, 405 or 503.
type AdminAPI struct {
	app *App
}

// CaddyModule returns the module's information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.mfa", New: func() caddy.Module { return new(AdminAPI) }}
}

// Provision finds the app. A configuration without one has nobody to manage.
func (a *AdminAPI) Provision(ctx caddy.Context) error {
	if mod, err := ctx.AppIfConfigured("mfa"); err == nil {
		a.app, _ = mod.(*App)
	}
	return nil
}

// adminBase is where the routes lie.
const adminBase = "/mfa/"

// Routes implements [caddy.AdminRouter].
func (a *AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminBase, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// operation is the body of a request of an operator.
type operation struct {
	App   string `json:"app"`
	User  string `json:"user"`
	Phone string `json:"phone,omitempty"`
	Alias string `json:"alias,omitempty"`
	By    string `json:"by,omitempty"`
}

// done is the answer to an act that has no other.
type done struct {
	User  string `json:"user"`
	Done  string `json:"done"`
	Ended *int   `json:"sessions_ended,omitempty"`
	Code  string `json:"code,omitempty"`
	Until string `json:"until,omitempty"`
}

// maxOperation bounds the body of a request, in bytes; maxName a name in it.
const (
	maxOperation = 16 << 10
	maxName      = 256
)

func adminError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func (a *AdminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil {
		return adminError(http.StatusNotFound, "the running configuration has no global option mfa")
	}
	path := strings.TrimPrefix(r.URL.Path, adminBase)
	if path == "apps" {
		if r.Method != http.MethodGet {
			return adminError(http.StatusMethodNotAllowed, "%s: use GET", r.Method)
		}
		return writeAdmin(w, a.apps())
	}
	if verb, ok := strings.CutPrefix(path, "store"); ok && (verb == "" || verb[0] == '/') {
		return a.storeRoutes(w, r, strings.TrimPrefix(verb, "/"))
	}
	verb, ok := strings.CutPrefix(path, "users/")
	act := acts[verb]
	switch {
	case !ok || act == nil:
		return adminError(http.StatusNotFound, "there is no /mfa/%s", path)
	case r.Method != http.MethodPost:
		return adminError(http.StatusMethodNotAllowed, "%s: use POST with a body of JSON", r.Method)
	}
	var op operation
	if err := readOperation(w, r, &op); err != nil {
		return err
	}
	if err := a.check(&op, verb); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	out, err := act(r, a.app.flow, flow.Operator{App: op.App, User: op.User, By: op.By}, op)
	switch {
	case errors.Is(err, flow.ErrTaken), errors.Is(err, flow.ErrNumber), errors.Is(err, flow.ErrEnrolled):
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	case err != nil:
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return writeAdmin(w, out)
}

func readOperation(w http.ResponseWriter, r *http.Request, op *operation) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOperation))
	d.DisallowUnknownFields()
	if err := d.Decode(op); err != nil || d.More() {
		return adminError(http.StatusBadRequest, "the body is not {app, user, phone, alias, by}: %v", err)
	}
	return nil
}

// apps are the names of the applications; none before the configuration runs.
func (a *AdminAPI) apps() []string {
	if apps := a.app.apps.Load(); apps != nil {
		return *apps
	}
	return []string{}
}

// check completes and refuses what an operator asks for. A name that is nearly
// right must not act on nothing and say that it is done.
func (a *AdminAPI) check(op *operation, verb string) error {
	apps := a.apps()
	if op.App == "" && len(apps) == 1 {
		op.App = apps[0]
	}
	switch {
	case op.App == "":
		return fmt.Errorf("app is missing: it is one of %s", strings.Join(apps, ", "))
	case !slices.Contains(apps, op.App) && !slices.ContainsFunc(apps, func(app string) bool { return ofHost(app, op.App) }):
		return fmt.Errorf("there is no application %q: it is one of %s", op.App, strings.Join(apps, ", "))
	case op.User == "" && verb != "list":
		return errors.New("user is missing")
	case len(op.User) > maxName || len(op.By) > maxName:
		return fmt.Errorf("user and by have at most %d bytes", maxName)
	case op.Phone == "" && verb == "set-phone":
		return errors.New("phone is missing: write the number with its country code, such as +49…")
	case len(op.Alias) > maxName || op.Alias == "" && verb == "alias":
		return fmt.Errorf("alias is missing, or longer than %d bytes: it is another name of the same user", maxName)
	}
	return nil
}

// ofHost reports whether users are those of one host of an application.
func ofHost(app, users string) bool {
	host, ok := strings.CutPrefix(users, gate.UsersOf(app, ""))
	name, is := gate.Hostname(host)
	return ok && is && name == host
}

// acts are what operators may do, by the last part of the route and as verbs of
// the command.
var acts = map[string]func(*http.Request, *flow.Flow, flow.Operator, operation) (any, error){
	"list": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		users, err := f.Users(r.Context(), o.App)
		if users == nil {
			users = []string{}
		}
		return users, err
	},
	"show": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		return f.Show(r.Context(), o)
	},
	"set-phone": func(r *http.Request, f *flow.Flow, o flow.Operator, op operation) (any, error) {
		return done{User: o.User, Done: "the number is set; sessions and trusted browsers have ended, and the owner is told"}, f.SetNumberOf(r.Context(), o, op.Phone)
	},
	"reset": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		return done{User: o.User, Done: "number, recovery codes, trusted browsers, sessions and counters are gone, and the owner is told"}, f.Reset(r.Context(), o)
	},
	"unlock": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		return done{User: o.User, Done: "wrong codes are forgotten"}, f.Unlock(r.Context(), o)
	},
	"help-desk-code": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		code, until, err := f.HelpDeskCode(r.Context(), o)
		return done{User: o.User, Done: "this code is good for one login, in place of a text; it is shown here only", Code: code, Until: stamp(until)}, err
	},
	"invite": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		code, until, err := f.Invite(r.Context(), o)
		return done{User: o.User, Done: "with this code the user names a number at the next login; it is shown here only", Code: code, Until: stamp(until)}, err
	},
	"alias": func(r *http.Request, f *flow.Flow, o flow.Operator, op operation) (any, error) {
		return done{User: o.User, Done: op.Alias + " is the same user from now on"}, f.Alias(r.Context(), o, op.Alias)
	},
	"end-sessions": func(r *http.Request, f *flow.Flow, o flow.Operator, _ operation) (any, error) {
		n, err := f.EndSessionsOf(r.Context(), o)
		return done{User: o.User, Done: "sessions have ended", Ended: &n}, err
	},
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func writeAdmin(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(v)
}

var (
	_ caddy.AdminRouter = (*AdminAPI)(nil)
	_ caddy.Provisioner = (*AdminAPI)(nil)
)
