// Package phone reads phone numbers and says which of them may get a text.
package phone

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	lib "github.com/nyaruka/phonenumbers"
)

// ErrNumber means that an input is no valid phone number. It does not name it.
var ErrNumber = errors.New("phone: not a phone number")

// maxInput bounds what is read, in bytes: an E.164 number has at most 15
// digits, in some scripts of 4 bytes each.
const maxInput = 64

// Number is a valid phone number. Printing one prints it masked, so that a
// careless log line shows no number (attack D7). The zero value is no number,
// and no policy allows it.
type Number struct {
	e164    string
	country int // calling code
	region  string
	kind    lib.PhoneNumberType
}

// Parse reads a number as people write it: blanks, dashes, dots, slashes and
// parentheses, 00 or + before the country code, digits of any script. A number
// without country code is read as one of region (ISO 3166-1 alpha-2); with
// region "" it is ErrNumber, as is everything that is not both a possible and a
// valid number, or longer than 64 bytes. Whether it may get a text is a
// [Policy]'s business.
func Parse(input, region string) (Number, error) {
	plain, ok := normalize(input)
	if !ok {
		return Number{}, ErrNumber
	}
	p, err := lib.Parse(plain, strings.ToUpper(region))
	if err != nil || !lib.IsPossibleNumber(p) || !lib.IsValidNumber(p) {
		return Number{}, ErrNumber
	}
	e164 := lib.Format(p, lib.E164)
	if len(e164) > len("+")+15 { // E.164 6.2.1; some landlines abroad have more
		return Number{}, ErrNumber
	}
	return Number{
		e164: e164, country: int(p.GetCountryCode()),
		region: lib.GetRegionCodeForNumber(p), kind: lib.GetNumberType(p),
	}, nil
}

// normalize gives ASCII digits, with a + in front when the number has a country
// code. Letters, which would make 1-800-FLOWERS or an extension, are refused.
func normalize(input string) (string, bool) {
	if len(input) > maxInput {
		return "", false
	}
	var b strings.Builder
	for _, c := range input {
		switch {
		case unicode.IsDigit(c):
			b.WriteByte(digit(c))
		case c == '+' || c == '＋':
			if b.Len() > 0 {
				return "", false
			}
			b.WriteByte('+')
		case unicode.IsSpace(c), unicode.Is(unicode.Pd, c), c == '\u2212', strings.ContainsRune("()[]（）./", c):
		case unicode.Is(unicode.Cf, c): // direction marks and the like come with a copy from an address book
		default:
			return "", false
		}
	}
	plain := b.String()
	if rest, ok := strings.CutPrefix(plain, "00"); ok {
		plain = "+" + rest
	}
	return plain, plain != ""
}

// digit is the ASCII digit for one of any script. Unicode keeps the ten digits
// of a script together, in order (its stability policy for category Nd), and
// where two scripts touch, the second begins after a ten.
func digit(c rune) byte {
	n := 0
	for unicode.IsDigit(c - 1) {
		c--
		n++
	}
	return '0' + byte(n%10) //nolint:gosec // at most 9
}

// E164 is the number as providers want it, e.g. +12015550123.
func (n Number) E164() string { return n.e164 }

// Prefix is the number without its last four digits, e.g. +1201555: the block
// in which numbers are handed out to a network.
func (n Number) Prefix() string { return n.e164[:max(0, len(n.e164)-4)] }

// Region is the number's country, ISO 3166-1 alpha-2, or "001" for satellite
// and other networks without one.
func (n Number) Region() string { return n.region }

// Last2 is the last two digits, for "sent to your phone ending 23".
func (n Number) Last2() string { return n.e164[max(0, len(n.e164)-2):] }

// Masked is the number for logs: country code and last two digits, e.g. +1…23
// (requirement L3).
func (n Number) Masked() string {
	if n.e164 == "" {
		return ""
	}
	return fmt.Sprintf("+%d…%s", n.country, n.Last2())
}

// String is Masked.
func (n Number) String() string { return n.Masked() }

// GoString is Masked.
func (n Number) GoString() string { return n.Masked() }

// RegionOf is the country of a sender's number in E.164, for a number that need
// not be valid, such as a test number. It is "" for names, short codes and
// networks without a country.
func RegionOf(e164 string) string {
	p, err := lib.Parse(e164, "")
	if err != nil {
		return ""
	}
	for _, r := range []string{lib.GetRegionCodeForNumber(p), lib.GetRegionCodeForCountryCode(int(p.GetCountryCode()))} {
		if known[r] {
			return r
		}
	}
	return ""
}
