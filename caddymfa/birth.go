package caddymfa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/birth"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// markerFile is by what an embedded store's directory remembers the store.
const markerFile = "store.json"

// enrolmentShut is 1 while nobody enrols by the password alone.
var enrolmentShut = prometheus.NewGauge(prometheus.GaugeOpts{
	Namespace: "caddymfa", Name: "enrolment_shut",
	Help: "1 while nobody can name a first number, because the store has lost what it held and no operator has confirmed.",
})

// somewhere is a store that is the same under other credentials and settings.
type somewhere interface {
	// Place tells stores apart by where they are; it holds no secret.
	Place() string
}

// empty is a store that knows whether it holds no record at all.
type empty interface {
	Empty(ctx context.Context) (bool, error)
}

// watch keeps an eye on the store, over reloads. It touches nothing yet.
func (a *App) watch(opener StoreOpener, st store.Store) (*birth.Watch, error) {
	o := birth.Options{}
	if dir := opener.Dir(); dir != "" {
		o.Alone, o.Markers = true, []string{filepath.Join(dir, markerFile)}
		if len(a.Secrets) == 0 {
			// A secret beside an empty store: there was one, unless the secret is new.
			o.Used = func(ctx context.Context) (bool, error) {
				lazy, _ := st.(*lazyStore)
				return lazy.empty(ctx)
			}
		}
	} else {
		place := opener.Key()
		if p, ok := opener.(somewhere); ok {
			place = p.Place()
		}
		for _, f := range a.ring.Fingerprints() {
			sum := sha256.Sum256([]byte(place + "\n" + f))
			o.Markers = append(o.Markers, filepath.Join(caddy.AppDataDir(), "mfa", "stores", hex.EncodeToString(sum[:12])+".json"))
		}
	}
	v, err := a.hold("birth "+opener.Key()+" "+a.secretsKey(), func() (caddy.Destructor, error) {
		return &pooledWatch{birth.New(st, a.ring, o)}, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*pooledWatch).Watch, nil //nolint:forcetypeassert // the pool's own
}

type pooledWatch struct{ *birth.Watch }

// Destruct implements [caddy.Destructor].
func (w *pooledWatch) Destruct() error { w.Close(); return nil }

// startWatch looks for the first time, and then every few seconds.
func (a *App) startWatch(ctx context.Context) {
	a.flow.Birth.Listen(birth.Listener{
		Event: a.observe,
		Changed: func(s birth.State, own bool) {
			enrolmentShut.Set(0)
			switch {
			case s.IsShut() && !own:
				a.log.Warn("enrolment is shut: "+birth.What(s.Why)+" "+birth.WhatToDo, zap.Time("since", s.Shut), zap.String("reason", string(s.Why)))
				fallthrough
			case s.IsShut():
				enrolmentShut.Set(1)
			default:
				a.log.Info("enrolment is open again")
			}
		},
		Unsaved: func(err error) {
			a.log.Warn("this machine cannot remember its store, so only other nodes notice when it has lost what it held", zap.Error(err))
		},
	})
	if _, err := a.flow.Birth.Look(ctx); err != nil {
		a.log.Error("nobody can say whether the store is the one that it was; until then everything but public pages is refused", zap.Error(err))
	}
	a.flow.Birth.Start() //nolint:contextcheck // it watches for as long as the configuration runs
}

// storeState is the answer about the store.
type storeState struct {
	Store      string `json:"store"`
	Enrolment  string `json:"enrolment"`
	Since      string `json:"since,omitempty"`
	Reason     string `json:"reason,omitempty"`
	What       string `json:"what,omitempty"`
	Beat       string `json:"beat,omitempty"`
	Generation uint64 `json:"generation"`
}

func stateOf(s birth.State) storeState {
	out := storeState{Store: s.ID, Enrolment: "open", Generation: s.Gen}
	if !s.Beat.IsZero() {
		out.Beat = stamp(s.Beat)
	}
	if s.IsShut() {
		out.Enrolment, out.Since, out.Reason = "shut", stamp(s.Shut), string(s.Why)
		out.What = strings.TrimSpace(birth.What(s.Why) + " " + birth.WhatToDo)
	}
	return out
}

// storeRoutes are GET /mfa/store and POST /mfa/store/confirm {by}.
func (a *AdminAPI) storeRoutes(w http.ResponseWriter, r *http.Request, verb string) error {
	want := map[string]string{"": http.MethodGet, "confirm": http.MethodPost}[verb]
	switch {
	case want == "":
		return adminError(http.StatusNotFound, "there is no /mfa/store/%s", verb)
	case r.Method != want:
		return adminError(http.StatusMethodNotAllowed, "%s: use %s", r.Method, want)
	}
	f := a.app.flow
	if verb == "" {
		s, err := f.Birth.Look(r.Context())
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
		}
		return writeAdmin(w, stateOf(s))
	}
	var op operation
	if err := readOperation(w, r, &op); err != nil {
		return err
	}
	switch s, err := f.Birth.Confirm(r.Context()); {
	case errors.Is(err, birth.ErrOpen):
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	case err != nil:
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	default:
		f.Events(r.Context(), event.Event{Name: event.Operated, Reason: event.OK, By: op.By, Detail: "confirm store"})
		return writeAdmin(w, stateOf(s))
	}
}
