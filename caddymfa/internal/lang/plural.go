package lang

// The categories of CLDR's cardinal plurals.
const (
	Zero  = "zero"
	One   = "one"
	Two   = "two"
	Few   = "few"
	Many  = "many"
	Other = "other"
)

// Plural is the form of a whole number n, at least 0, in a built-in language: CLDR's
// cardinal rules for numbers without decimals. In Polish and Ukrainian no whole number
// is Other. The category many of French, Italian, Portuguese and Spanish, for whole
// millions, is left out: nothing here comes in millions.
//
// golang.org/x/text/feature/plural knows the same, with the rules of all languages
// and for decimals, and adds 78 kB to a binary. The test holds one against the other.
func Plural(lang string, n int) string {
	tens, hundreds := n%10, n%100
	teens := hundreds >= 11 && hundreds <= 14
	switch lang {
	case "ja", "zh":
		return Other
	case "fr", "pt":
		if n <= 1 {
			return One
		}
		return Other
	case "cs":
		if n >= 2 && n <= 4 {
			return Few
		}
	case "pl":
		switch {
		case n == 1:
			return One
		case tens >= 2 && tens <= 4 && !teens:
			return Few
		}
		return Many
	case "uk":
		switch {
		case tens == 1 && !teens:
			return One
		case tens >= 2 && tens <= 4 && !teens:
			return Few
		}
		return Many
	case "he":
		if n == 2 {
			return Two
		}
	case "ar":
		switch {
		case n == 0:
			return Zero
		case n == 2:
			return Two
		case hundreds >= 3 && hundreds <= 10:
			return Few
		case hundreds >= 11:
			return Many
		}
	}
	if n == 1 {
		return One
	}
	return Other
}
