package sms

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/language"
)

// Vars are what a text names.
type Vars struct {
	Code    string
	App     string
	Minutes int
	// Host is the site that the code is bound to, without port.
	Host string
}

// builtin are the texts without configuration: the code first, for the preview
// on a locked screen, no link, within one segment (GSM-7) with a name of 30
// signs.
var builtin = map[string]string{
	"en": "{code} is your {app} code. It expires in {minutes} minutes. Never share it.",
	"de": "{code} ist Ihr Code für {app}. Er gilt {minutes} Minuten. Geben Sie ihn nie weiter.",
	"fr": "{code} : votre code {app}. Il expire dans {minutes} minutes. Ne le communiquez jamais.",
	"es": "{code} es su clave para {app}. Caduca en {minutes} minutos. Nunca la comparta.",
}

// notices tell an owner that somebody has used up the tries.
var notices = map[string]string{
	"en": "{app}: someone with your password entered too many wrong codes. Signing in is locked for now. If this was not you, change your password.",
	"de": "{app}: Jemand mit Ihrem Passwort hat zu viele falsche Codes eingegeben. Die Anmeldung ist vorerst gesperrt. Waren Sie es nicht? Ändern Sie Ihr Passwort.",
	"fr": "{app} : quelqu'un avec votre mot de passe a saisi trop de codes faux. Connexion bloquée. Si ce n'est pas vous, changez votre mot de passe.",
	"es": "{app}: alguien con su clave de acceso introdujo demasiados códigos incorrectos. El acceso queda bloqueado. Si no fue usted, cambie su clave.",
}

// Templates are the wordings of one configuration, by language.
type Templates struct {
	texts   map[string]string
	langs   []string
	matcher language.Matcher
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

// NewTemplates takes texts by language (BCP 47) in place of, or beside, the
// built-in ones.
func NewTemplates(custom map[string]string) (*Templates, error) {
	t := &Templates{texts: map[string]string{}}
	maps.Copy(t.texts, builtin)
	for lang, text := range custom {
		tag, err := language.Parse(lang)
		if err != nil {
			return nil, fmt.Errorf("template language %q: use a language tag such as en or pt-BR", lang)
		}
		if err := checkTemplate(text); err != nil {
			return nil, fmt.Errorf("template %s: %w", lang, err)
		}
		t.texts[tag.String()] = text
	}
	t.langs = []string{"en"} // the first is the one for languages that nobody has
	var tags []language.Tag
	for lang := range t.texts {
		if lang != "en" {
			t.langs = append(t.langs, lang)
		}
	}
	for _, lang := range t.langs {
		tags = append(tags, language.MustParse(lang))
	}
	t.matcher = language.NewMatcher(tags)
	return t, nil
}

func checkTemplate(text string) error {
	codes := 0
	for _, p := range placeholder.FindAllString(text, -1) {
		switch p {
		case "{code}":
			codes++
		case "{app}", "{minutes}":
		default:
			return fmt.Errorf("%q is not known: {code}, {app} and {minutes} are", p)
		}
	}
	switch {
	case codes != 1:
		return fmt.Errorf("{code} stands %d times: once is needed", codes)
	case strings.ContainsAny(text, "\r\n"):
		return fmt.Errorf("line breaks are not allowed: the gate adds the last line itself")
	case strings.Contains(text, "@") || strings.Contains(text, "#"):
		return fmt.Errorf("the signs @ and # are not allowed: phones read them as the line that binds the code to the site")
	}
	return nil
}

// Match chooses a language for an Accept-Language value.
func (t *Templates) Match(accept string) string {
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil || len(tags) == 0 {
		return "en"
	}
	_, i, _ := t.matcher.Match(tags...)
	return t.langs[i]
}

// Render writes a text. Its last line binds the code to the site (WICG
// origin-bound one-time codes: "@host #code", nothing before it), so that
// phones offer it there and nowhere else. An address that is no name gets no
// such line.
func (t *Templates) Render(lang string, v Vars) string {
	text := fill(t.texts[lang], v)
	if v.Host == "" || !strings.Contains(v.Host, ".") && v.Host != "localhost" || isIP(v.Host) {
		return text
	}
	return text + "\n\n@" + v.Host + " #" + v.Code
}

// Notice writes the text that tells an owner of a lock.
func (t *Templates) Notice(lang string, v Vars) string {
	base, _ := language.MustParse(lang).Base()
	text, ok := notices[base.String()]
	if !ok {
		text = notices["en"]
	}
	return fill(text, v)
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

func fill(text string, v Vars) string {
	return strings.NewReplacer("{code}", v.Code, "{app}", Name(v.App), "{minutes}", strconv.Itoa(v.Minutes)).Replace(text)
}

const maxName = 40 // signs

var link = regexp.MustCompile(`(?i)(https?|ftp):/*|www\.|(\w)\.(\w)`)

// Name makes an application's name safe for a text: no line breaks, nothing
// that a phone reads as a link or as the binding line (attack H7).
func Name(name string) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c), unicode.Is(unicode.Cf, c), c == '@', c == '#', c == '\uFF20', c == '\uFF03', c == '{', c == '}':
			return -1
		}
		return c
	}, strings.ToValidUTF8(name, ""))
	name = link.ReplaceAllString(link.ReplaceAllString(name, "$2 $3"), "$2 $3")
	name = strings.Join(strings.Fields(name), " ")
	if r := []rune(name); len(r) > maxName {
		name = strings.TrimSpace(string(r[:maxName]))
	}
	return name
}

// gsm is the GSM 7-bit default alphabet (3GPP TS 23.038 6.2.1); gsmExt costs two.
const (
	gsm    = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExt = "^{}\\[~]|€\f"
)

// Segments is how many segments a text costs, and whether it is in GSM-7: 160
// signs in one or 153 in each of several, otherwise 70 or 67 of UTF-16.
func Segments(text string) (n int, inGSM bool) {
	septets := 0
	for _, c := range text {
		switch {
		case strings.ContainsRune(gsm, c):
			septets++
		case strings.ContainsRune(gsmExt, c):
			septets += 2
		default:
			units := len(utf16.Encode([]rune(text)))
			if units <= 70 {
				return 1, false
			}
			return (units + 66) / 67, false
		}
	}
	if septets <= 160 {
		return 1, true
	}
	return (septets + 152) / 153, true
}
