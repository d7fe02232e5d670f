package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"time"
)

// MaxDevices bounds the trusted browsers of a user; one more replaces the one
// that was used least lately.
const MaxDevices = 5

// Device is a browser that needs no code for a while. Its cookie changes with
// every use: a copy is found out when both are used.
type Device struct {
	ID    string    `json:"i"`
	Hash  []byte    `json:"h"`
	Label string    `json:"l,omitempty"`
	Since time.Time `json:"s"`
	Used  time.Time `json:"u"`
	Until time.Time `json:"t"`
	// Gen is the store's generation at the time: the trust is over with it.
	Gen uint64 `json:"g,omitempty"`
}

const (
	deviceID     = 8
	deviceSecret = 32
)

// Trust adds a browser until the given time and returns its cookie's value.
// password is a keyed hash of the password that was given, nil when it is not
// known: with another password the browser is a stranger. gen is the store's
// generation.
func (a *Account) Trust(label string, password []byte, gen uint64, now, until time.Time) string {
	a.Devices = slices.DeleteFunc(slices.Clone(a.Devices), func(d Device) bool { return !now.Before(d.Until) })
	if len(a.Devices) >= MaxDevices {
		oldest := slices.IndexFunc(a.Devices, func(d Device) bool {
			return !slices.ContainsFunc(a.Devices, func(o Device) bool { return o.Used.Before(d.Used) })
		})
		a.Devices = slices.Delete(a.Devices, oldest, oldest+1)
	}
	var id [deviceID]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails since Go 1.24
	d := Device{ID: hex.EncodeToString(id[:]), Label: label, Since: now, Used: now, Until: until, Gen: gen}
	token := d.rotate(id[:], password)
	a.Devices = append(a.Devices, d)
	return token
}

func (d *Device) rotate(id, password []byte) string {
	secret := make([]byte, deviceSecret)
	_, _ = rand.Read(secret)
	d.Hash = d.hash(secret, password)
	return base64.RawURLEncoding.EncodeToString(append(slices.Clone(id), secret...))
}

// hash binds a browser to its secret, to what it says it is, and to the password.
func (d *Device) hash(secret, password []byte) []byte {
	h := sha256.New()
	h.Write(secret) // of one length, as is the next
	label := sha256.Sum256([]byte(d.Label))
	h.Write(label[:])
	h.Write(password)
	return h.Sum(nil)
}

// Recognition is what a browser's cookie is worth.
type Recognition int

// The values.
const (
	// Unknown: no such browser, or its time is over.
	Unknown Recognition = iota
	// Known: trusted; the cookie has a new value.
	Known
	// Copied: the cookie was used before, by another browser, or with another
	// password. It is trusted no longer.
	Copied
)

// Recognise looks for the browser of a cookie, and gives the cookie a new value.
func (a *Account) Recognise(token, label string, password []byte, now time.Time) (next string, r Recognition) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != deviceID+deviceSecret {
		return "", Unknown
	}
	id, secret := raw[:deviceID], raw[deviceID:]
	i := slices.IndexFunc(a.Devices, func(d Device) bool { return d.ID == hex.EncodeToString(id) })
	if i < 0 {
		return "", Unknown
	}
	a.Devices = slices.Clone(a.Devices)
	d := &a.Devices[i]
	switch {
	case !now.Before(d.Until):
		a.Devices = slices.Delete(a.Devices, i, i+1)
		return "", Unknown
	case d.Label != label, subtle.ConstantTimeCompare(d.Hash, d.hash(secret, password)) != 1:
		a.Devices = slices.Delete(a.Devices, i, i+1)
		return "", Copied
	}
	d.Used = now
	return d.rotate(id, password), Known
}

// Keep ends what was trusted or given out in other generations of the store than
// gen: a copy of the store brings back browsers that were forgotten, values of cookies
// and codes of the help desk that were used.
func (a *Account) Keep(gen uint64) {
	if a.HelpDesk != nil && a.HelpDesk.Gen != gen {
		a.HelpDesk = nil
	}
	a.Devices = slices.DeleteFunc(slices.Clone(a.Devices), func(d Device) bool { return d.Gen != gen })
}

// Forget ends the trust in a browser, or in all of them where id is "".
func (a *Account) Forget(id string) {
	if id == "" {
		a.Devices = nil
		return
	}
	a.Devices = slices.DeleteFunc(slices.Clone(a.Devices), func(d Device) bool { return d.ID == id })
}
