package session

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"
)

// handle is the content of the browser's cookie: which session, and which
// version of its jar the browser has seen.
type handle struct {
	id      ID
	version uint64
}

// maxHandle bounds the cookie before anything is decoded; a real one has 114
// characters.
const maxHandle = 160

const handleForm = "1" // one letter before the seal, for the day another form is needed

func (t *Table) sealHandle(gate string, h handle) string {
	plain := binary.BigEndian.AppendUint64(append(make([]byte, 0, 40), h.id[:]...), h.version)
	return handleForm + base64.RawURLEncoding.EncodeToString(t.handles.Seal(gate, plain))
}

func (t *Table) openHandle(gate, value string) (handle, bool) {
	if len(value) > maxHandle || !strings.HasPrefix(value, handleForm) {
		return handle{}, false
	}
	if h, ok := t.cache.handle(gate, value); ok {
		return h, true
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(value[len(handleForm):])
	if err != nil {
		return handle{}, false
	}
	plain, err := t.handles.Open(gate, text)
	if err != nil || len(plain) != len(ID{})+8 {
		return handle{}, false
	}
	var h handle
	copy(h.id[:], plain)
	h.version = binary.BigEndian.Uint64(plain[len(h.id):])
	t.cache.opened(gate, strings.Clone(value), h) // the value is a part of a header
	return h, true
}

// Cookie is the handle's cookie: its name over TLS carries the __Host- prefix,
// so that neither a subdomain nor plain HTTP can plant one (RFC 6265bis 4.1.3.2).
// The plain name is never read over TLS.
type Cookie struct {
	name, secure string // over TLS
}

// NewCookie names the cookie "mfa", or "mfa-<suffix>" where a host has several gates.
func NewCookie(suffix string) Cookie {
	if suffix == "" {
		return Cookie{"mfa", hostPrefix + "mfa"}
	}
	return Cookie{"mfa-" + suffix, hostPrefix + "mfa-" + suffix}
}

const hostPrefix = "__Host-"

// Name is the cookie's name for a browser that sees TLS, or does not.
func (c Cookie) Name(secure bool) string {
	if secure {
		return c.secure
	}
	return c.name
}

// read returns the one value of our cookie. Two cookies of our name are
// ambiguous: then there is none.
func (c Cookie) read(r *http.Request, secure bool) (string, bool) {
	name, found, value := c.Name(secure), false, ""
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			k, v, ok := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
			if !ok || k != name {
				continue
			}
			if found {
				return "", false
			}
			value, found = strings.TrimRight(v, " \t"), true
		}
	}
	return value, found
}

func (c Cookie) set(w http.Header, value string, secure bool, maxAge int) {
	w.Add("Set-Cookie", (&http.Cookie{ //nolint:gosec // Secure is set where the browser sees TLS
		Name: c.Name(secure), Value: value, Path: "/", Secure: secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: maxAge,
	}).String())
}

// deviceSuffix is added to the handle's name for the cookie of a browser that
// needs no code for a while.
const deviceSuffix = "-device"

// Device is the value of that cookie, "" when there is none, or two.
func (c Cookie) Device(r *http.Request, secure bool) string {
	d := Cookie{c.name + deviceSuffix, c.secure + deviceSuffix}
	value, _ := d.read(r, secure)
	return value
}

// SetDevice gives the browser that cookie for maxAge; "" takes it away.
func (c Cookie) SetDevice(w http.Header, value string, secure bool, maxAge time.Duration) {
	seconds := int(maxAge / time.Second)
	if value == "" {
		seconds = -1
	}
	Cookie{c.name + deviceSuffix, c.secure + deviceSuffix}.set(w, value, secure, seconds)
}

// wantedSuffix is added to the handle's name for the cookie that remembers the page
// that a visitor was refused.
const wantedSuffix = "-to"

// maxWanted bounds its address in bytes: browsers keep 4,096 of a cookie, and
// base64 makes four of three.
const maxWanted = 2900

// Wanted is the address in that cookie, "" where there is none. It is the browser's
// word.
func (c Cookie) Wanted(r *http.Request, secure bool) string {
	value, _ := Cookie{c.name + wantedSuffix, c.secure + wantedSuffix}.read(r, secure)
	to, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return ""
	}
	return string(to)
}

// SetWanted gives the browser that cookie for as long as a visitor's session lives;
// "" takes it away. Too long an address is not remembered.
func (c Cookie) SetWanted(w http.Header, target string, secure bool) {
	seconds := int(AnonymousTTL / time.Second)
	if target == "" {
		seconds = -1
	} else if len(target) > maxWanted {
		return
	}
	Cookie{c.name + wantedSuffix, c.secure + wantedSuffix}.set(w, base64.RawURLEncoding.EncodeToString([]byte(target)), secure, seconds)
}
