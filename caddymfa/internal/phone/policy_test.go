package phone

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestAttack_H6_OnlyMobilePhonesOfAllowedCountries(t *testing.T) {
	p := Policy{Countries: []string{"DE", "GB", "US", "AU"}}
	for name, tc := range map[string]struct {
		number string
		want   error
	}{
		"mobile":                          {"+491713920012", nil},
		"mobile, second country":          {"+61491570156", nil},
		"mobile or fixed, not told apart": {"+12015550123", nil},
		"country not allowed":             {"+46701740605", ErrCountry},
		"same calling code, other region": {"+447624000000", ErrCountry}, // Isle of Man
		"Iridium":                         {"+881612345678", ErrCountry},
		"international networks 882":      {"+882161234567", ErrCountry},
		"international networks 883":      {"+883510001234", ErrCountry},
		"Inmarsat":                        {"+870773111632", ErrCountry},
		"international toll free":         {"+80012345678", ErrCountry},
		"international premium":           {"+979123456789", ErrCountry},
		"landline":                        {"+442079460000", ErrType},
		"toll free":                       {"+18005550199", ErrType},
		"premium":                         {"+449098790123", ErrType},
		"premium in the US":               {"+19005550199", ErrType},
		"shared cost":                     {"+498005550199", ErrType},
		"personal":                        {"+447012345678", ErrType},
		"personal in the US":              {"+15005550006", ErrType},
		"pager":                           {"+447640123456", ErrType},
		"voice over IP":                   {"+445612345678", ErrType},
		"company-wide":                    {"+443069990123", ErrType},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := Parse(tc.number, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(n); !errors.Is(err, tc.want) {
				t.Errorf("Check = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestAttack_H6_NothingIsAllowedByAccident(t *testing.T) {
	n, err := Parse("+491713920012", "")
	if err != nil {
		t.Fatal(err)
	}
	if (Policy{}).Check(n) == nil {
		t.Error("an empty list allows a number")
	}
	sat, err := Parse("+881612345678", "")
	if err != nil {
		t.Fatal(err)
	}
	if (Policy{Countries: []string{"001"}}).Check(sat) == nil {
		t.Error("a list with 001 allows satellite phones")
	}
	if (Policy{Countries: []string{""}}).Check(Number{}) == nil {
		t.Error("the zero number is allowed")
	}
}

func TestCountries(t *testing.T) {
	got, err := Countries([]string{"de", "AT", "De"})
	if err != nil || !slices.Equal(got, []string{"DE", "AT"}) {
		t.Errorf("Countries = %v, %v", got, err)
	}
	for _, code := range []string{"XX", "UK", "DEU", "001", "ZZ", "", "*"} {
		if _, err := Countries([]string{"DE", code}); err == nil || !strings.Contains(err.Error(), `"`+code+`"`) {
			t.Errorf("Countries(%q) = %v, want an error that names it", code, err)
		}
	}
}
