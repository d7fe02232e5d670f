package twilio

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// classes are the codes, of refusals and of reports, that say more than that a
// text did not arrive (twilio.com/docs/api/errors).
var classes = map[int]sms.Why{
	21211: sms.Dead,
	21610: sms.OptedOut,
	21614: sms.Landline,
	21635: sms.Landline,
	30003: sms.Unreachable,
	30004: sms.Blocked,
	30005: sms.Dead,
	30006: sms.Landline,
	30007: sms.Blocked,
	30450: sms.Suspected,
	30453: sms.Suspected,
	60205: sms.Landline,
	60410: sms.Suspected,
}

// address is where a text's reports go, "" for none's. Twilio signs it, so that
// nobody can turn a report to another text.
func (s *Sender) address(ref string) *url.URL {
	u := *s.report
	if ref != "" {
		u.RawQuery = s.refQuery() + ref
	}
	return &u
}

func (s *Sender) refQuery() string {
	if s.report.RawQuery == "" {
		return "ref="
	}
	return s.report.RawQuery + "&ref="
}

// Report implements [sms.Reporter].
//
// Twilio signs the address that it was given and all fields with the account's
// token (twilio.com/docs/usage/security). The address is the configured one,
// never that of the request, whose host the client names. The query must be
// that address's with one ref behind it; a field or a signature that is there
// twice is refused, because Twilio's library judges the first only.
func (s *Sender) Report(c sms.Callback) (sms.Report, error) {
	if s.report == nil {
		return sms.Report{}, sms.ErrForged
	}
	ref, ok := strings.CutPrefix(c.Query, s.refQuery())
	given := c.Header.Values("X-Twilio-Signature")
	kinds := c.Header.Values("Content-Type")
	if len(given) > 1 || len(kinds) > 1 {
		return sms.Report{}, sms.ErrAmbiguous
	}
	if !ok || ref == "" || len(given) == 0 || len(kinds) == 0 || !form(kinds[0]) {
		return sms.Report{}, sms.ErrForged
	}
	fields, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return sms.Report{}, sms.ErrAmbiguous
	}
	for _, values := range fields {
		if len(values) > 1 {
			return sms.Report{}, sms.ErrAmbiguous
		}
	}
	signed := s.address(ref)
	signed.Fragment, signed.RawFragment = "", "" // how Twilio is to connect; it is not sent
	if !s.proves(signed.String(), c.Body, given[0]) || fields.Get("AccountSid") != s.c.AccountSID {
		return sms.Report{}, sms.ErrForged
	}
	r := sms.Report{Ref: ref, ID: fields.Get("MessageSid"), To: fields.Get("To"), State: sms.Sent}
	switch fields.Get("MessageStatus") {
	case "delivered", "read":
		r.State = sms.Delivered
	case "undelivered", "failed", "canceled":
		r.State, r.Code = sms.Failed, fields.Get("ErrorCode")
		n, _ := strconv.Atoi(r.Code)
		r.Why = classes[n]
	}
	return r, nil
}

// Listening implements [sms.Reporter].
func (s *Sender) Listening() bool { return s.report != nil }

// ReceiptTimeout implements [sms.Reporter].
func (s *Sender) ReceiptTimeout() time.Duration { return s.c.ReceiptTimeout }

// proves reports whether one of the account's tokens made the signature. Both are
// tried, whichever it was.
func (s *Sender) proves(address string, body []byte, signature string) (ok bool) {
	for _, token := range []string{s.c.AuthToken, s.c.SecondaryToken} {
		if token == "" {
			continue
		}
		v := client.NewRequestValidator(token)
		ok = v.ValidateBody(address, body, signature) || ok
	}
	return ok
}

// form reports whether a body is what Twilio sends.
func form(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded")
}

var _ sms.Reporter = (*Sender)(nil)
