package phone

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	lib "github.com/nyaruka/phonenumbers"
)

// Errors of Check. None of them names the number.
var (
	ErrCountry = errors.New("phone: country not allowed")
	ErrType    = errors.New("phone: not a mobile phone")
)

// known are the countries with phone numbers. "001", which stands for satellite
// and other networks without a country, is none.
var known = lib.GetSupportedRegions()

// Policy says which numbers may get a text (attack H6, requirement S6).
type Policy struct {
	// Countries that are allowed, ISO 3166-1 alpha-2 in capitals, as [Countries]
	// gives them. None allows none.
	Countries []string
}

// Countries checks a list of countries when a configuration is loaded, and
// gives it in capitals, each once. Its error names the code that is none.
func Countries(codes []string) ([]string, error) {
	var out []string
	for _, code := range codes {
		c := strings.ToUpper(code)
		switch {
		case c == "UK":
			return nil, fmt.Errorf("country %q: the code of the United Kingdom is GB", code)
		case !known[c]:
			return nil, fmt.Errorf("country %q is not known: use ISO 3166-1 codes of two letters, such as DE, FR, US", code)
		case !slices.Contains(out, c):
			out = append(out, c)
		}
	}
	return out, nil
}

// Check refuses countries that are not allowed, and networks without a country
// such as satellite phones (ErrCountry). It refuses what is no mobile phone:
// premium, shared-cost and personal numbers earn somebody money, landlines,
// toll-free numbers and pagers get no text, and voice over IP is rented by the
// hour (ErrType). Where a country's mobile and fixed numbers cannot be told
// apart, as in the US, they are allowed.
func (p Policy) Check(n Number) error {
	if !known[n.region] || !slices.Contains(p.Countries, n.region) {
		return ErrCountry
	}
	switch n.kind {
	case lib.MOBILE, lib.FIXED_LINE_OR_MOBILE:
		return nil
	}
	return ErrType
}
