// Package keyring derives every key that the gate uses from the operator's
// secrets: one label per use (HKDF-SHA-256, RFC 5869), rotation by key id.
// The newest secret seals, all of them open.
package keyring

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// MinSecret is the least length of a secret in bytes: as much entropy as the
// keys that are derived from it can carry.
const MinSecret = 32

// ErrSeal means that something was not sealed here, for this use, and with a
// key that is still in the ring. It says no more on purpose.
var ErrSeal = errors.New("not sealed by this gate")

const (
	keyIDLen = 4
	// Overhead is what sealing adds to a plain text, in bytes.
	Overhead = keyIDLen + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Ring holds the secrets, newest first.
type Ring struct{ secrets [][]byte }

// New makes a ring of at least one secret of MinSecret bytes.
func New(secrets ...[]byte) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: give at least one of 32 bytes or more")
	}
	r := &Ring{}
	for i, s := range secrets {
		if len(s) < MinSecret {
			return nil, fmt.Errorf("secret %d has %d bytes: at least %d are needed (try: openssl rand -hex 32)", i+1, len(s), MinSecret)
		}
		for _, other := range secrets[:i] {
			if bytes.Equal(s, other) {
				return nil, fmt.Errorf("secret %d is given twice", i+1)
			}
		}
		r.secrets = append(r.secrets, bytes.Clone(s))
	}
	return r, nil
}

type derived struct {
	id  uint32
	key []byte
}

// Key is the ring's key material for one use. It is safe for concurrent use.
type Key struct{ keys []derived }

// Key derives the keys for one use. Two labels never share a key.
func (r *Ring) Key(label string) *Key {
	k := &Key{}
	for _, s := range r.secrets {
		key := derive(s, "use/"+label, 32)
		k.keys = append(k.keys, derived{binary.BigEndian.Uint32(derive(s, "id", keyIDLen)), key})
	}
	return k
}

func derive(secret []byte, info string, n int) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "caddymfa/v1/"+info, n)
	if err != nil {
		panic(err) // only for absurd lengths
	}
	return key
}

// Seal encrypts plain so that only Open with the same bind opens it. bind goes
// into the key as well as into the authenticated data: what was sealed for one
// session, app or challenge says nothing about another. XChaCha20-Poly1305,
// because its nonces may be random however many handles are made.
func (k *Key) Seal(bind string, plain []byte) []byte {
	d := k.keys[0]
	out := make([]byte, keyIDLen+chacha20poly1305.NonceSizeX, len(plain)+Overhead)
	binary.BigEndian.PutUint32(out, d.id)
	_, _ = rand.Read(out[keyIDLen:]) // crypto/rand never fails since Go 1.24
	nonce := out[keyIDLen:]
	return d.aead(bind).Seal(out, nonce, plain, []byte(bind))
}

// Open reverses Seal, or returns ErrSeal.
func (k *Key) Open(bind string, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrSeal
	}
	id := binary.BigEndian.Uint32(sealed)
	nonce, text := sealed[keyIDLen:keyIDLen+chacha20poly1305.NonceSizeX], sealed[keyIDLen+chacha20poly1305.NonceSizeX:]
	for _, d := range k.keys {
		if d.id != id {
			continue
		}
		if plain, err := d.aead(bind).Open(nil, nonce, text, []byte(bind)); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSeal
}

func (d derived) aead(bind string) interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
} {
	a, err := chacha20poly1305.NewX(mac(d.key, bind))
	if err != nil {
		panic(err) // only for a wrong key length
	}
	return a
}

// MAC is a keyed hash of parts under the newest secret. Parts are framed by
// their length, so that no two lists of parts share a hash.
func (k *Key) MAC(parts ...string) []byte { return mac(k.keys[0].key, parts...) }

// Ref is a short keyed hash for logs: it tells two things apart and names
// neither.
func (k *Key) Ref(parts ...string) string { return hex.EncodeToString(k.MAC(parts...)[:8]) }

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// Fingerprints tell rings apart without naming a secret.
func (r *Ring) Fingerprints() []string {
	var out []string
	for _, s := range r.secrets {
		out = append(out, hex.EncodeToString(derive(s, "fingerprint", 16)))
	}
	return out
}
