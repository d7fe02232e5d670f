package gate_test

import (
	"net/http"
	"testing"
)

// From the application's answer to the hand-over of the text there is one round
// trip to the store for who the user is, and one for the challenge and its counts.
func TestRoundTripsOfAChallenge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().signIn("alice") // whose number the gate has not met before
		var since, trips int64
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			application.ServeHTTP(rw, r)
			since = w.store.trips.Load()
		})
		w.phones.ring = func() { trips = w.store.trips.Load() - since }
		c := w.browser().login("alice", "pw-a")
		if trips != 2 {
			t.Errorf("%d round trips between the application's answer and the text", trips)
		}
		w.store.ahead.Add(31e9)
		before := w.phones.count()
		since = w.store.trips.Load()
		c.send("resend")
		if w.phones.count() != before+1 || trips > 3 { // the session, the user, the challenge
			t.Errorf("another text: %d round trips, %d texts", trips, w.phones.count()-before)
		}
	})
}
