package gate_test

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// answers makes the application one that takes longer than the store: when it
// answers, the password is counted, the attempt marked and the user looked up,
// and what an earlier request left to be written has been written too. The
// function returned counts round trips since its last answer.
func (w *world) answers() (since func() int64) {
	var at atomic.Int64
	before, application := w.store.trips.Load(), w.app.Handler
	w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		application.ServeHTTP(rw, r)
		seen, quiet := w.store.trips.Load(), 0
		for i := 0; i < 400 && (seen < before+3 || quiet < 20); i++ {
			time.Sleep(5 * time.Millisecond)
			if now := w.store.trips.Load(); now == seen {
				quiet++
			} else {
				seen, quiet = now, 0
			}
		}
		at.Store(seen)
	})
	return func() int64 { return w.store.trips.Load() - at.Load() }
}

// From the application's answer to the hand-over of the text there is one round
// trip to the store: the challenge with its counts. Who the user is was looked up
// while the application was asked.
func TestAChallengeIsOneRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().signIn("alice") // whose number the gate has not met before
		since, trips := w.answers(), int64(0)
		w.phones.ring = func() { trips = since() }
		c := w.browser().login("alice", "pw-a")
		if trips != 1 {
			t.Errorf("%d round trips between the application's answer and the text", trips)
		}
		w.store.ahead.Add(31e9)
		texts := w.phones.count()
		c.get("/mfa")
		before := w.store.trips.Load()
		w.phones.ring = func() { trips = w.store.trips.Load() - before }
		c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}})
		if w.phones.count() != texts+1 || trips > 3 { // the session, the user, the challenge
			t.Errorf("another text: %d round trips, %d texts", trips, w.phones.count()-texts)
		}
	})
}

// What is looked up ahead may be old: a reset while the application answers ends
// the login all the same, and a lock keeps the code out.
func TestAttack_G1_WhatWasLookedUpAheadIsOld(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("alice")
		during := func() {}
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if application.ServeHTTP(rw, r); r.Method == http.MethodPost {
				time.Sleep(50 * time.Millisecond) // it was looked up by now
				during()
			}
		})
		during = func() {
			if err := w.flow().Reset(t.Context(), operator("alice")); err != nil {
				t.Error(err)
			}
		}
		c := w.browser().get("/login").login("alice", "pw-a")
		during = func() {}
		c.code(w.phones.last(t, "alice"))
		c.out()
		if w.events.count(event.Released, event.OK) != 1 {
			t.Error(w.events)
		}

		w.enrol("alice")
		during = func() {
			for range 10 {
				if _, err := w.flow().Accounts.Try(t.Context(), "Test", "alice", account.Guess{}); err != nil {
					t.Error(err)
				}
			}
		}
		c = w.browser().get("/login").login("alice", "pw-a")
		during = func() {}
		c.code(w.phones.last(t, "alice"))
		c.out()
	}, byThemselves)
}

// Whom the application names counts, not who was looked up ahead.
func TestAttack_J_WhoWasLookedUpAheadIsNotWhoSignedIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().signIn("bob")
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost { // to it, bob is another name of alice
				r.PostForm = url.Values{"user": {"alice"}, "password": {"pw-a"}}
				time.Sleep(20 * time.Millisecond)
			}
			application.ServeHTTP(rw, r)
		})
		before := w.phones.words(numbers["bob"])
		c := w.browser().get("/login").login("bob", "pw-a").to("/mfa")
		if w.phones.words(numbers["bob"]) != before {
			t.Error("the text went to whom the request names")
		}
		c.code(w.phones.last(t, "alice")).in("alice")
	})
}
