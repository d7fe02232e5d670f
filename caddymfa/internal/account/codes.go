package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"
	"unicode"
)

const (
	// CodeCount is how many recovery codes are made at once.
	CodeCount = 10
	// HelpDeskTTL is how long an operator's code lives.
	HelpDeskTTL = time.Hour

	// A code has 15 signs of 32, none that reads like another: 75 bits (NIST SP
	// 800-63B-4 4.2.1.1: at least 64). group signs stand together.
	codeLength = 15
	group      = 5
	alphabet   = "abcdefghijkmnpqrstuvwxyz23456789"
)

// Codes are recovery codes that were not used yet, as hashes. The account lies
// sealed in the store; the salt keeps equal codes apart.
type Codes struct {
	Salt   []byte    `json:"s"`
	Hashes [][]byte  `json:"h,omitempty"`
	MadeAt time.Time `json:"m"`
}

// HelpDesk is a code that an operator gave out for one login.
type HelpDesk struct {
	Salt  []byte    `json:"s"`
	Hash  []byte    `json:"h"`
	Until time.Time `json:"t"`
	By    string    `json:"b,omitempty"` // the operator, as named to us
	Gen   uint64    `json:"g,omitempty"` // the store's generation at the time
}

// MakeCodes gives the user new recovery codes in place of all others. The codes,
// xxxxx-xxxxx-xxxxx, are nowhere afterwards but with the caller.
func (a *Account) MakeCodes(now time.Time) []string {
	c := &Codes{Salt: salt(), MadeAt: now}
	var plain []string
	for range CodeCount {
		code := newCode()
		plain = append(plain, show(code))
		c.Hashes = append(c.Hashes, hash(c.Salt, code))
	}
	a.Codes = c
	return plain
}

// MakeHelpDesk gives the user a code of an operator, in place of another.
func (a *Account) MakeHelpDesk(by string, gen uint64, now time.Time) string {
	h := &HelpDesk{Salt: salt(), Until: now.Add(HelpDeskTTL), By: by, Gen: gen}
	code := newCode()
	h.Hash = hash(h.Salt, code)
	a.HelpDesk = h
	return show(code)
}

// Spent says which code was used.
type Spent int

// What a code was.
const (
	NoCode Spent = iota
	RecoveryCode
	HelpDeskCode
)

// Spend takes a code that was typed, and says which one it was; by names the
// operator of a help desk's code. The caller has counted the try. Every code is
// compared, so that the time says nothing.
func (a *Account) Spend(code string, now time.Time) (what Spent, by string) {
	if c := a.Codes; c != nil {
		left := c.Hashes[:0:0]
		for _, h := range c.Hashes {
			if subtle.ConstantTimeCompare(h, hash(c.Salt, code)) == 1 {
				what = RecoveryCode
			} else {
				left = append(left, h)
			}
		}
		a.Codes = &Codes{Salt: c.Salt, Hashes: left, MadeAt: c.MadeAt}
	}
	if h := a.HelpDesk; h != nil && now.Before(h.Until) && subtle.ConstantTimeCompare(h.Hash, hash(h.Salt, code)) == 1 {
		what, by, a.HelpDesk = HelpDeskCode, h.By, nil
	}
	return what, by
}

// NormaliseCode reads a recovery code as people type it. ok is false for what
// cannot be one; that is refused without costing a try.
func NormaliseCode(typed string) (code string, ok bool) {
	if len(typed) > 64 {
		return "", false
	}
	var b strings.Builder
	for _, c := range strings.ToLower(typed) {
		switch {
		case unicode.IsSpace(c), unicode.Is(unicode.Pd, c), c == '\u200e', c == '\u200f':
		case strings.ContainsRune(alphabet, c):
			b.WriteRune(c)
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == codeLength
}

func newCode() string {
	var b [codeLength]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails since Go 1.24
	for i := range b {
		b[i] = alphabet[b[i]%byte(len(alphabet))] // 256 is a multiple of 32
	}
	return string(b[:])
}

func show(code string) string {
	return code[:group] + "-" + code[group:2*group] + "-" + code[2*group:]
}

func salt() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return b
}

func hash(salt []byte, code string) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(code))
	return h.Sum(nil)
}
