// Package phone reads phone numbers and says which of them may get a text.
package phone

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	lib "github.com/nyaruka/phonenumbers"
)

// Errors of Parse and Check. None of them names the number.
var (
	ErrNumber  = errors.New("phone: not a phone number")
	ErrCountry = errors.New("phone: country not allowed")
	ErrType    = errors.New("phone: not a mobile phone")
)

// maxInput bounds what is read, in bytes.
const maxInput = 64

// Number is a valid phone number.
type Number struct{ p *lib.PhoneNumber }

// Parse reads a number as people write it: blanks, dashes and parentheses, 00
// or + before the country code, digits of any script. A number without country
// code is read as one of region (ISO 3166-1 alpha-2); with region "" it is
// ErrNumber.
func Parse(input, region string) (Number, error) {
	input = strings.TrimSpace(input)
	if input == "" || len(input) > maxInput || lib.IsAlphaNumber(input) {
		return Number{}, ErrNumber
	}
	if digits := lib.NormalizeDigitsOnly(input); strings.HasPrefix(digits, "00") && !strings.HasPrefix(input, "+") {
		input = "+" + digits[2:]
	}
	p, err := lib.Parse(input, region)
	if err != nil || !lib.IsPossibleNumber(p) || !lib.IsValidNumber(p) || p.GetExtension() != "" {
		return Number{}, ErrNumber
	}
	return Number{p}, nil
}

// E164 is the number as providers want it, e.g. +447700900123.
func (n Number) E164() string { return lib.Format(n.p, lib.E164) }

// Prefix is the number without its last four digits: the block it was sold in.
func (n Number) Prefix() string {
	s := n.E164()
	return s[:max(1, len(s)-4)]
}

// Region is the number's country, ISO 3166-1 alpha-2, or "001" for none.
func (n Number) Region() string { return lib.GetRegionCodeForNumber(n.p) }

// Masked is the number for logs and for its owner: country code and the last
// two digits.
func (n Number) Masked() string {
	s := n.E164()
	return fmt.Sprintf("+%d…%s", n.p.GetCountryCode(), s[len(s)-2:])
}

// Policy says which numbers may get a text.
type Policy struct {
	// Countries that are allowed, ISO 3166-1 alpha-2 in capitals. None allows none.
	Countries []string
}

// Countries checks a list of countries and gives it in capitals.
func Countries(codes []string) ([]string, error) {
	known := lib.GetSupportedRegions()
	var out []string
	for _, c := range codes {
		c = strings.ToUpper(c)
		if !known[c] {
			return nil, fmt.Errorf("country %q: use ISO 3166-1 codes of two letters, such as DE, FR, US", c)
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// Check refuses countries that are not allowed (ErrCountry) and what is no
// mobile phone: premium, shared-cost and satellite numbers earn somebody money,
// landlines and voice over IP get no text or are rented by the hour (ErrType;
// attack H6). Where a country's mobile and fixed numbers cannot be told apart,
// they are allowed.
func (p Policy) Check(n Number) error {
	if !slices.Contains(p.Countries, n.Region()) {
		return ErrCountry
	}
	switch lib.GetNumberType(n.p) {
	case lib.MOBILE, lib.FIXED_LINE_OR_MOBILE:
		return nil
	}
	return ErrType
}

// RegionOf is the country of an E.164 number, "" when it has none.
func RegionOf(e164 string) string {
	p, err := lib.Parse(e164, "")
	if err != nil {
		return ""
	}
	if r := lib.GetRegionCodeForNumber(p); r != "001" && r != "ZZ" {
		return r
	}
	// Not a valid number, but perhaps one of a country: a short or test sender.
	if r := lib.GetRegionCodeForCountryCode(int(p.GetCountryCode())); r != "001" && r != "ZZ" {
		return r
	}
	return ""
}
