package portal

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// receipt takes the reports of providers. They have no session and come from no
// page of ours: what a report is worth is its signature. Answers have no body,
// and say no more than a status (attack H8).
func (p *Portal) receipt(v *visit) {
	v.w.Header().Set("Cache-Control", "no-store")
	refuse := func(code int, reason event.Reason) {
		p.Flow.Events(v.c.R.Context(), event.Event{Name: event.Receipt, Reason: reason, App: v.g.App})
		v.w.WriteHeader(code)
	}
	if v.c.R.Method != http.MethodPost {
		v.w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, event.Denied)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(v.w, v.c.R.Body, sms.MaxReport))
	if errors.As(err, new(*http.MaxBytesError)) {
		refuse(http.StatusRequestEntityTooLarge, event.TooLarge)
		return
	} else if err != nil {
		refuse(http.StatusBadRequest, event.Unreadable)
		return
	}
	reason, err := p.Flow.Report(v.c.R.Context(), v.g, sms.Callback{Query: v.c.URL.RawQuery, Header: v.c.R.Header, Body: body})
	switch {
	case err != nil:
		p.Flow.Events(v.c.R.Context(), event.Event{Name: event.StoreFailed, Reason: event.StoreDown, App: v.g.App, Err: err})
		v.w.WriteHeader(http.StatusServiceUnavailable)
	case reason == event.Forged, reason == event.Ambiguous:
		v.w.WriteHeader(http.StatusForbidden)
	default:
		v.w.WriteHeader(http.StatusNoContent)
	}
}
