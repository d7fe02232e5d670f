// Package session keeps what the gate knows about a browser: one record, one
// key, one version, one time to live, bound to one gate. The browser holds a
// sealed handle and nothing else.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
)

// Level says what a session may do. There is exactly one at a time, and every
// value that is none of these opens nothing.
type Level string

const (
	// None is the level of a client without a living session.
	None Level = ""
	// Anonymous holds the application's cookies from before a login.
	Anonymous Level = "anonymous"
	// Pending has given the right password and owes the code.
	Pending Level = "pending"
	// Verified has given both.
	Verified Level = "verified"
	// busy marks a session that a login attempt has taken out, and done one
	// whose attempt has ended. Both open nothing; they only let the same
	// request, sent twice, have the same outcome.
	busy Level = "busy"
	done Level = "done"
)

// ID names a session. It is secret: it is sealed in the handle, never stored.
type ID [32]byte

func newID() (id ID) {
	_, _ = rand.Read(id[:]) // crypto/rand never fails since Go 1.24
	return id
}

// key is where the record of id is stored. The hash keeps the ids, from which
// the keys that seal the records are derived, out of the store.
func (id ID) key() string {
	h := sha256.Sum256(append([]byte("caddymfa session "), id[:]...))
	return "s:" + base64.RawURLEncoding.EncodeToString(h[:])
}

// Record is what is stored of a session, sealed. A Record that was loaded is
// shared between requests: it is never changed, only replaced.
type Record struct {
	Level Level `json:"l"`
	// Gen is the store's generation at the time, see Table.Within: a session of
	// another one is over.
	Gen uint64  `json:"g,omitempty"`
	Jar jar.Jar `json:"j,omitzero"`
	// User is the name the application knows the user by (pending, verified; busy and
	// done where the session was pending).
	User string `json:"u,omitempty"`
	// As is the name by which Caddy itself has identified the user, where that is
	// another spelling (pending, verified).
	As string `json:"q,omitempty"`
	// Rule is the login rule that the session was opened by, "" for none (pending,
	// verified).
	Rule string `json:"i,omitempty"`
	// AskedAt is when the application was last asked whose session it is, because a
	// cookie had changed (verified).
	AskedAt time.Time `json:"k,omitzero"`
	// Doubt: a cookie has changed since, and the question was put off (verified).
	Doubt bool `json:"x,omitempty"`
	// Tried is a keyed hash of the name of the last failed attempt (anonymous).
	Tried string `json:"t,omitempty"`
	// Epoch is the account's at the time; see account.Account (pending, verified).
	Epoch int `json:"n,omitempty"`
	// Challenge belongs to the room of that name: a pending session's owed code, or
	// a verified one's that proves or changes a number.
	Challenge []byte `json:"c,omitempty"`
	// Reply is the withheld answer (pending).
	Reply []byte `json:"r,omitempty"`
	// VerifiedAt is when the code was right; ExpiresAt the end of a verified
	// session, which activity does not move; SeenAt its last use, to a minute.
	VerifiedAt time.Time `json:"v,omitzero"`
	SeenAt     time.Time `json:"s,omitzero"`
	ExpiresAt  time.Time `json:"e,omitzero"`

	// ConfirmedAt is when the second factor was given once more, ConfirmedFor for
	// which one change (verified).
	ConfirmedAt  time.Time `json:"f,omitzero"`
	ConfirmedFor string    `json:"p,omitempty"`

	// Basic is the keyed hash of the HTTP Basic credential that the session was
	// opened with (pending, verified).
	Basic []byte `json:"b,omitempty"`

	// Deliver is the address at which a withheld page waits, see Leave (verified).
	Deliver string `json:"d,omitempty"`

	// Led is where the code has led its user (verified). It is kept for the moment in
	// which the form with the code may be sent once more.
	Led string `json:"w,omitempty"`

	// Attempt is the keyed hash of the request that took the session (busy,
	// done); Outcome what came of it (done).
	Attempt []byte `json:"a,omitempty"`
	Outcome []byte `json:"o,omitempty"`
	// Light: the session was anonymous, or there was none (busy, done). Losing
	// the mark with the process loses nothing.
	Light bool `json:"m,omitempty"`
	// Loose: browsers carry handles that hold an older state of this session, so its
	// end is remembered until they have expired (anonymous, busy, done).
	Loose bool `json:"z,omitempty"`
}

// Is reports whether the session belongs to the user of this name, as Caddy
// itself spells it.
func (r *Record) Is(name string) bool { return name == r.User || r.As != "" && name == r.As }

// Session is a loaded record with its id and version.
type Session struct {
	ID      ID
	Version uint64
	Record
	// carried: the browser holds the record, and no store does.
	carried bool
	// cut: the record is not whole, its Reply is in the store.
	cut bool
}

// state is what a handle of the session is worth.
func (s *Session) state() State {
	switch s.Level {
	case Anonymous, Pending, Verified:
		return Live
	case busy, done:
		// A mark that lies longer than an attempt may take only keeps the handle dead.
		if s.SeenAt.IsZero() || time.Since(s.SeenAt) <= AttemptTTL {
			return Attempting
		}
	case None:
	}
	return Unknown
}
