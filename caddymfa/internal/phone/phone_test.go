package phone

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Numbers are from ranges that regulators keep for films and examples: +1 555
// 01xx (NANPA), +49 171 39200xx (BNetzA), +61 491 570 xxx (ACMA), +46 70 1740
// 6xx (PTS). Ofcom's and ARCEP's are not valid for the library.
func TestParseReadsWhatPeopleWrite(t *testing.T) {
	for name, tc := range map[string]struct{ in, region, want string }{
		"E.164":                        {"+491713920012", "", "+491713920012"},
		"blanks round and inside":      {" +49 171 39 200 12 ", "", "+491713920012"},
		"non-breaking blanks":          {"+49\u00a0171\u202f3920012", "", "+491713920012"},
		"dashes of all kinds":          {"+49-171–392‐00−12", "", "+491713920012"},
		"dots and slashes":             {"0171/39.200.12", "DE", "+491713920012"},
		"parentheses":                  {"(201) 555-0123", "US", "+12015550123"},
		"national zero in parentheses": {"+49 (0) 171 3920012", "", "+491713920012"},
		"country code in parentheses":  {"(+49) 171 3920012", "", "+491713920012"},
		"00":                           {"0049 171 3920012", "", "+491713920012"},
		"00 from another country":      {"0049 171 3920012", "US", "+491713920012"},
		"011 in the US":                {"011 49 171 3920012", "US", "+491713920012"},
		"national form":                {"0171 3920012", "DE", "+491713920012"},
		"region in small letters":      {"0171 3920012", "de", "+491713920012"},
		"other region's number":        {"+61 491 570 156", "DE", "+61491570156"},
		"full width":                   {"＋４９１７１３９２００１２", "", "+491713920012"},
		"Arabic-Indic digits":          {"+٤٩١٧١٣٩٢٠٠١٢", "", "+491713920012"},
		"Devanagari digits and 00":     {"००४९१७१३९२००१२", "", "+491713920012"},
		"direction marks of a copy":    {"\u202a+49 171 3920012\u202c", "", "+491713920012"},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := Parse(tc.in, tc.region)
			if err != nil || n.E164() != tc.want {
				t.Errorf("Parse(%q, %q) = %s, %v; want %s", tc.in, tc.region, n.E164(), err, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, region string }{
		"nothing":                  {"", "DE"},
		"blanks":                   {" \t", "DE"},
		"a plus":                   {"+", "DE"},
		"a code only":              {"+49", ""},
		"too short":                {"+49171", ""},
		"too long":                 {"+49171392001234567", ""},
		"possible but not valid":   {"+441632960123", ""},
		"no such country code":     {"+99912345678", ""},
		"national without region":  {"0171 3920012", ""},
		"national, unknown region": {"0171 3920012", "XX"},
		"emergency":                {"112", "DE"},
		"two pluses":               {"++491713920012", ""},
		"a plus inside":            {"+49171+3920012", ""},
		"an extension":             {"+491713920012 ext 7", ""},
		"an extension by comma":    {"+491713920012,7", ""},
		"a tone":                   {"+491713920012#1", ""},
		"letters":                  {"1-800-FLOWERS", "US"},
		"a tel URI":                {"tel:+491713920012", ""},
		"a second number":          {"+491713920012;+12015550123", ""},
		"a null byte":              {"+491713920012\x00", ""},
		"broken UTF-8":             {"+491713920012\xff", ""},
		"superscripts":             {"+49171392001²", ""},
		"65 bytes":                 {"+491713920012" + strings.Repeat(" ", 52), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := Parse(tc.in, tc.region); !errors.Is(err, ErrNumber) {
				t.Errorf("Parse(%q, %q) = %s, %v", tc.in, tc.region, n.E164(), err)
			}
		})
	}
}

func TestNumberNamesItsParts(t *testing.T) {
	n, err := Parse("+491713920012", "")
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][2]string{
		"prefix": {n.Prefix(), "+49171392"}, "region": {n.Region(), "DE"}, "last two": {n.Last2(), "12"}, "masked": {n.Masked(), "+49…12"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", what, got[0], got[1])
		}
	}
	var none Number
	if none.E164()+none.Prefix()+none.Region()+none.Last2()+none.Masked() != "" {
		t.Error("the zero value names something")
	}
}

func TestAttack_D7_PrintingHidesTheNumber(t *testing.T) {
	n, err := Parse("+491713920012", "")
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %v", n, n, n, n, n, struct{ N any }{n})
	_, parse := Parse("+491713920", "")
	_, long := Parse("+4917139200123456789", "")
	for _, text := range []string{printed, parse.Error(), long.Error(), ErrCountry.Error(), ErrType.Error()} {
		if strings.Contains(text, "1713920") {
			t.Errorf("the number is in %q", text)
		}
	}
}

func TestRegionOf(t *testing.T) {
	for in, want := range map[string]string{
		"+15005550006": "US", "+491713920012": "DE", "+447700900123": "GB", "+61491570156": "AU",
		"Example": "", "12345": "", "": "", "+881612345678": "", "+882161234567": "",
	} {
		if got := RegionOf(in); got != want {
			t.Errorf("RegionOf(%s) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, in := range []string{"+49 (0) 171 3920012", "0171/3920012", "＋４９１７１３９２００１２", "0049", "+1", "\u202a+1\u202c", "(((", "+39 06 1234 5678", "21000000000000"} {
		f.Add(in, "DE")
	}
	f.Fuzz(func(t *testing.T, in, region string) {
		n, err := Parse(in, region)
		if err != nil {
			if n != (Number{}) {
				t.Fatalf("%q: an error and a number", in)
			}
			return
		}
		e := n.E164()
		if len(e) < 4 || len(e) > 16 || e[0] != '+' || strings.Trim(e[1:], "0123456789") != "" {
			t.Fatalf("%q read as %q, which is not E.164", in, e)
		}
		again, err := Parse(e, "")
		if err != nil || again != n {
			t.Fatalf("%q read as %s, which reads as %s, %v", in, e, again.E164(), err)
		}
	})
}
