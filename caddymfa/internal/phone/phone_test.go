package phone

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReadsWhatPeopleWrite(t *testing.T) {
	for _, tc := range []struct{ in, region, want string }{
		{"+44 7400 123456", "", "+447400123456"},
		{"0044-7400-123456", "", "+447400123456"},
		{"(07400) 123456", "GB", "+447400123456"},
		{"+٤٤٧٤٠٠١٢٣٤٥٦", "", "+447400123456"},
		{"+４４７４００１２３４５６", "", "+447400123456"},
		{"0151 23456789", "DE", "+4915123456789"},
		{"415-555-2671", "US", "+14155552671"},
	} {
		n, err := Parse(tc.in, tc.region)
		if err != nil || n.E164() != tc.want {
			t.Errorf("Parse(%q, %q) = %v, %v; want %s", tc.in, tc.region, n, err, tc.want)
		}
	}
	for _, in := range []string{"", "12", "+44", "+447400123456 ext 7", "1-800-FLOWERS", strings.Repeat("1", 65), "+99999999999", "07400 123456", "tel:+447400123456;x=\n"} {
		if _, err := Parse(in, ""); !errors.Is(err, ErrNumber) {
			t.Errorf("Parse(%q) = %v", in, err)
		}
	}
}

func TestAttack_H6_OnlyMobilePhonesOfAllowedCountries(t *testing.T) {
	p := Policy{Countries: []string{"GB", "DE", "US"}}
	for number, want := range map[string]error{
		"+447400123456":  nil,
		"+4915123456789": nil,
		"+14155552671":   nil,        // cannot be told apart
		"+33612345678":   ErrCountry, // France
		"+881612345678":  ErrCountry, // Iridium
		"+882161234567":  ErrCountry,
		"+870773111632":  ErrCountry, // Inmarsat
		"+449012345678":  ErrType,    // premium
		"+448001111":     ErrType,    // toll free
		"+442079460000":  ErrType,    // landline
		"+445612345678":  ErrType,    // voice over IP
		"+18005550199":   ErrType,
	} {
		n, err := Parse(number, "")
		if err != nil {
			if want == nil {
				t.Errorf("%s: %v", number, err)
			}
			continue
		}
		if err := p.Check(n); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", number, err, want)
		}
	}
	n, _ := Parse("+447400123456", "")
	if (Policy{}).Check(n) == nil {
		t.Error("an empty allow list allows")
	}
}

func TestAttack_D7_MaskedAndErrorsHideTheNumber(t *testing.T) {
	n, _ := Parse("+447400123456", "")
	if got := n.Masked(); got != "+44…56" {
		t.Errorf("Masked() = %q", got)
	}
	if _, err := Parse("+44740012", ""); strings.Contains(err.Error(), "7400") {
		t.Errorf("error names the number: %v", err)
	}
}

func TestCountriesAndRegions(t *testing.T) {
	if got, err := Countries([]string{"de", "DE", "fr"}); err != nil || strings.Join(got, " ") != "DE FR" {
		t.Errorf("Countries = %v, %v", got, err)
	}
	if _, err := Countries([]string{"XX"}); err == nil {
		t.Error("unknown country accepted")
	}
	for in, want := range map[string]string{"+447400123456": "GB", "+15005550006": "US", "Example": ""} {
		if got := RegionOf(in); got != want {
			t.Errorf("RegionOf(%s) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("+44 7400 123456", "")
	f.Add("0151 23456789", "DE")
	f.Fuzz(func(t *testing.T, in, region string) {
		n, err := Parse(in, region)
		if err != nil {
			return
		}
		again, err := Parse(n.E164(), "")
		if err != nil || again.E164() != n.E164() {
			t.Fatalf("%q read as %s, which reads as %v, %v", in, n.E164(), again, err)
		}
	})
}
