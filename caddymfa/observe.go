package caddymfa

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// events counts decisions. It lives as long as the process, so that a reload
// does not set it back; every configuration's registry gets it.
var events = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddymfa", Name: "events_total",
	Help: "Decisions of the gate: logins recognised, challenges, texts, codes, refusals, by event and reason.",
}, []string{"event", "reason"})

// listenForAlarms finds Caddy's events app.
func (a *App) listenForAlarms(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.emitter = app.(*caddyevents.App) //nolint:forcetypeassert // the app of that name
	return nil
}

func (a *App) registerMetrics(ctx caddy.Context, table *session.Table) error {
	reg := ctx.GetMetricsRegistry()
	if reg == nil {
		return nil
	}
	// A registry is one configuration's, and so is the table that it asks.
	copies := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "caddymfa", Name: "cache_bytes",
		Help: "Memory that the copies of sessions take, about; the setting cache bounds it.",
	}, func() float64 { return float64(table.Bytes()) })
	for _, c := range []prometheus.Collector{events, copies, enrolmentShut, staleDirectories} {
		if err := reg.Register(c); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return err
		}
	}
	return nil
}

// observe writes an event: one log line and one count. Nothing in an event is
// a code, a number, a token, a cookie or a password.
func (a *App) observe(ctx context.Context, e event.Event) {
	events.WithLabelValues(string(e.Name), string(e.Reason)).Inc()
	switch e.Name {
	case event.LimitAlarm:
		a.alarm(AlarmEvent, map[string]any{"limit": string(e.Reason), "detail": e.Detail})
	case event.StoreLost:
		a.alarm(StoreLostEvent, map[string]any{"reason": string(e.Reason), "detail": e.Detail})
	case event.DirectoryStale:
		data := map[string]any{"reason": string(e.Reason), "detail": e.Detail}
		if e.Err != nil {
			data["error"] = e.Err.Error()
		}
		a.alarm(DirectoryStaleEvent, data)
	}
	c := a.log.Check(level(e), string(e.Name))
	if c == nil {
		return
	}
	fields := []zap.Field{zap.String("reason", string(e.Reason)), zap.String("app", e.App)}
	for _, f := range []struct{ key, value string }{
		{"rule", e.Rule}, {"user", e.User}, {"session", e.Session}, {"by", e.By}, {"detail", e.Detail},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, f.value))
		}
	}
	if ip, ok := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string); ok {
		fields = append(fields, zap.String("client_ip", ip))
	}
	if r, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		path, _, _ := strings.Cut(r.URL.Path, ";") // a session's id may follow; a password may stand in the query
		fields = append(fields, zap.String("method", r.Method), zap.String("path", path))
	}
	if s := e.Seen; s != nil {
		fields = append(fields, zap.String("client", string(s.Client)), zap.Int("status", s.Status), zap.Bool("navigation", s.Navigation),
			zap.Strings("params", s.Params), zap.Bool("credentials", s.Credentials), zap.Bool("new_session", s.NewSession))
		if s.Verdict != "" {
			fields = append(fields, zap.String("verdict", string(s.Verdict)))
		}
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	c.Write(fields...)
}

// AlarmEvent is the event of Caddy's events app for a limit that many users share, at
// 80 % or 100 %. Its data are limit, such as budget, and detail, such as "80 % GB".
const AlarmEvent = "mfa_limit_alarm"

// StoreLostEvent is the event of Caddy's events app for a store that has lost what it
// held, or was put back to an older state. Its data are reason and detail, which says
// what to do.
const StoreLostEvent = "mfa_store_lost"

// DirectoryStaleEvent is the event of Caddy's events app for a file of numbers that
// cannot be used any more (reason last_good_version, error says file, line and
// cause), or can be again (reason ok).
const DirectoryStaleEvent = "mfa_directory_stale"

// alarm lets Caddy's events app know, whose handlers nobody waits for.
func (a *App) alarm(name string, data map[string]any) {
	if a.emitter == nil || !a.emitter.ShouldEmit(name) {
		return
	}
	go a.emitter.Emit(a.ctx, name, data)
}

// level: what happens all day is for debugging, what somebody should look at
// is a warning.
func level(e event.Event) zapcore.Level {
	switch e.Name {
	case event.StoreFailed, event.LimitAlarm, event.StoreLost:
		return zapcore.ErrorLevel
	case event.Trap, event.Locked, event.Operated, event.Feedback, event.FailedOver, event.SentAgain:
		return zapcore.WarnLevel
	case event.DirectoryStale:
		if e.Reason != event.OK {
			return zapcore.WarnLevel
		}
	case event.Receipt:
		switch e.Reason {
		case event.Forged, event.Ambiguous, event.TooLarge, event.Blocked, event.Suspected:
			return zapcore.WarnLevel
		case event.Sent, event.Delivered, event.Known:
			return zapcore.DebugLevel
		}
	case event.Refused:
		switch e.Reason {
		case event.Anonymous, event.Pending, event.UnknownHandle:
			return zapcore.DebugLevel
		}
	case event.LoginRefused:
		return zapcore.WarnLevel
	case event.Send:
		if e.Reason == event.GatewayDown || e.Reason == event.Budget || e.Reason == event.CountryLimit || e.Reason == event.AppLimit || e.Reason == event.Unanswered {
			return zapcore.ErrorLevel
		}
	}
	return zapcore.InfoLevel
}
