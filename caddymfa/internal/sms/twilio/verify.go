package twilio

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	api "github.com/twilio/twilio-go/rest/verify/v2"
	"golang.org/x/text/language"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const verifyProvider = "twilio_verify"

// DefaultVerifyURL is where Twilio's Verify API is.
const DefaultVerifyURL = "https://verify.twilio.com"

// VerifyConfig is an account and a Verify service. The service must have "Enable
// Custom Verification Code" (twilio.com/docs/verify/api/customization-options),
// because the codes are ours; 4 to 10 digits are taken there, and ours have 6 to 10.
type VerifyConfig struct {
	// AccountSID, AuthToken, APIKeySID, APIKeySecret are those of [Config].
	AccountSID, AuthToken, APIKeySID, APIKeySecret string
	// Service is VA and 32 hexadecimal digits.
	Service string
	// Template is HJ and 32 hexadecimal digits, or "" for the service's own.
	Template string
	// RiskCheck is on, off, or "" for Twilio's own, which is on.
	RiskCheck string
	// APIURL is DefaultVerifyURL when empty. A path in it is put before Twilio's own.
	APIURL string
	// Timeout bounds one code, a second try included. Default 5 s.
	Timeout time.Duration
}

// Verify sends codes by one Verify service, in Twilio's own words. It is safe for
// concurrent use.
type Verify struct {
	c    VerifyConfig
	rest *rest
}

// NewVerify checks the configuration. It asks Twilio nothing.
func NewVerify(c VerifyConfig) (*Verify, error) {
	a := Config{
		AccountSID: c.AccountSID, AuthToken: c.AuthToken, APIKeySID: c.APIKeySID, APIKeySecret: c.APIKeySecret,
		APIURL: c.APIURL, Timeout: c.Timeout,
	}
	if err := a.checkAccount(); err != nil {
		return nil, err
	}
	switch {
	case c.Service == "":
		return nil, errors.New("service is missing: write the SID of a Verify service, VA and 32 hexadecimal digits, from Twilio's console")
	case !verifySID.MatchString(c.Service):
		return nil, errors.New("service is not VA and 32 hexadecimal digits: copy the SID of a Verify service from Twilio's console (MG… is a messaging service, for sms twilio)")
	case c.Template != "" && !templateSID.MatchString(c.Template):
		return nil, errors.New("template is not HJ and 32 hexadecimal digits: copy the SID of a Verify template, or leave it out for the service's own")
	}
	if err := checkRisk(c.RiskCheck); err != nil {
		return nil, err
	}
	base, err := a.apiURL(DefaultVerifyURL)
	if err != nil {
		return nil, err
	}
	return &Verify{c: c, rest: newREST(verifyProvider, &a, base)}, nil
}

// CodesOnly implements [sms.CodesOnly]: Twilio writes the text round a code.
func (*Verify) CodesOnly() bool { return true }

// Send implements [sms.Sender]. A language that Twilio has no words in is left
// out, and so is one that the service's template lacks: Twilio answers that 404,
// with nothing sent, and advises to ask again without, which chooses by the number's
// country (twilio.com/docs/verify/supported-languages).
func (s *Verify) Send(ctx context.Context, m sms.Message) (r sms.Receipt, err error) {
	if m.Code == "" {
		return r, sms.Codeless(verifyProvider)
	}
	ctx, cancel := context.WithTimeout(ctx, s.rest.timeout) // for both questions
	defer cancel()
	in := locale(m.Lang)
	var lacking bool
	start := func(c *call) (err error) {
		r, err = s.start(c, m, in)
		e, ok := errors.AsType[*sms.Error](err)
		lacking = ok && c.status == http.StatusNotFound && e.Code != "404" // it is Twilio's own
		return err
	}
	if err = s.rest.do(ctx, start); lacking && in != "" {
		in = ""
		err = s.rest.do(ctx, start)
	}
	if e, ok := errors.AsType[*sms.Error](err); ok && e.Code == "20404" { // not the account, as with messages
		e.Err = errors.New("this Verify service is not known: check service, account_sid and api_url")
	}
	return r, err
}

func (s *Verify) start(c *call, m sms.Message, locale string) (sms.Receipt, error) {
	p := &api.CreateVerificationParams{}
	p.SetTo(m.To)
	p.SetChannel("sms")
	p.SetCustomCode(m.Code)
	if locale != "" {
		p.SetLocale(locale)
	}
	if s.c.Template != "" {
		p.SetTemplateSid(s.c.Template)
	}
	if s.c.RiskCheck != "" {
		p.SetRiskCheck(riskChecks[s.c.RiskCheck])
	}
	v, err := api.NewApiService(c.handler()).CreateVerification(s.c.Service, p)
	var sid *string
	if v != nil {
		sid = v.Sid
	}
	if err := c.accepted(sid, err); err != nil {
		return sms.Receipt{}, err
	}
	return sms.Receipt{Provider: verifyProvider, ID: *sid}, nil
}

// Confirm implements [sms.Confirmer]: whoever brings codes of his own must tell
// Twilio which were answered. A Verification that is not pending any more is no
// failure.
func (s *Verify) Confirm(ctx context.Context, r sms.Receipt) error {
	if !anySID.MatchString(r.ID) {
		return nil
	}
	var status int
	err := s.rest.do(ctx, func(c *call) error {
		p := &api.UpdateVerificationParams{}
		p.SetStatus("approved")
		v, err := api.NewApiService(c.handler()).UpdateVerification(s.c.Service, r.ID, p)
		status = c.status
		var sid *string
		if v != nil {
			sid = v.Sid
		}
		return c.accepted(sid, err)
	})
	if status == http.StatusNotFound {
		return nil
	}
	return err
}

// locales are the languages of Verify's default template for texts
// (twilio.com/docs/verify/supported-languages).
var locales = []string{
	"af", "ar", "ca", "cs", "da", "de", "el", "en", "en-GB", "es", "et", "fi", "fr", "he", "hi", "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "mr", "ms",
	"nb", "nl", "pl", "pt", "pt-BR", "ro", "ru", "sk", "sv", "te", "th", "tl", "tr", "uk", "vi", "zh", "zh-CN", "zh-HK",
}

// locale is Twilio's name of a language, or "" where it has none: the language
// itself with its region, else without.
func locale(lang string) string {
	tag, err := language.Parse(lang)
	if err != nil {
		return ""
	}
	base, _ := tag.Base()
	region, _ := tag.Region()
	for _, name := range []string{base.String() + "-" + region.String(), base.String()} {
		if slices.Contains(locales, name) {
			return name
		}
	}
	if base.String() == "no" { // ISO 639: the macrolanguage of Bokmål
		return "nb"
	}
	return ""
}

var (
	_ sms.Sender    = (*Verify)(nil)
	_ sms.Confirmer = (*Verify)(nil)
	_ sms.CodesOnly = (*Verify)(nil)
)
