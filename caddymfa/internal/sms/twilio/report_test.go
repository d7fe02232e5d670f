package twilio

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

const ref = "0123456789abcdef0123456789abcdef"

func fields(more ...string) url.Values {
	f := url.Values{"AccountSid": {testAccount}, "MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "To": {to}, "Empty": {""}, "Text": {"a b&c=ü"}}
	for i := 0; i+1 < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

func callback(query, signature string, body string) sms.Callback {
	return sms.Callback{Query: query, Body: []byte(body), Header: http.Header{
		"Content-Type": {"application/x-www-form-urlencoded; charset=UTF-8"}, "X-Twilio-Signature": {signature},
	}}
}

// TestSignatureOfTheDocumentation: the example of twilio.com/docs/usage/security,
// so that signed is not wrong in the same way as what it tests.
func TestSignatureOfTheDocumentation(t *testing.T) {
	form := url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675309"}, "Digits": {"1234"}, "From": {"+14158675309"}, "To": {"+18005551212"}}
	if got := twiliotest.Sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form); got != "RSOYDt4T1cUTdK1PDd93/VVr8B8=" {
		t.Errorf("%s", got)
	}
}

func TestReports(t *testing.T) {
	c := good()
	c.StatusCallback, c.SecondaryToken = "https://sms.example.com/mfa/receipts?x=1#rc=2", "00112233445566778899aabbccddeeff"
	s := sender(t, c)
	const at = "https://sms.example.com/mfa/receipts?x=1&ref=" + ref
	if got := s.address(ref).String(); got != at+"#rc=2" {
		t.Errorf("Twilio is told %s", got)
	}
	for status, want := range map[string]sms.State{
		"accepted": sms.Sent, "queued": sms.Sent, "sending": sms.Sent, "sent": sms.Sent, "a new one": sms.Sent,
		"delivered": sms.Delivered, "read": sms.Delivered, "undelivered": sms.Failed, "failed": sms.Failed, "canceled": sms.Failed,
	} {
		f := fields("MessageStatus", status)
		r, err := s.Report(callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), f.Encode()))
		if err != nil || r.State != want || r.Ref != ref || r.ID != "SM1" || r.To != to {
			t.Errorf("%s: %+v %v", status, r, err)
		}
	}
	for code, want := range map[string]sms.Why{
		"21211": sms.Dead, "30005": sms.Dead, "30006": sms.Landline, "21614": sms.Landline, "21635": sms.Landline, "21610": sms.OptedOut,
		"30003": sms.Unreachable, "30004": sms.Blocked, "30007": sms.Blocked, "30450": sms.Suspected, "30453": sms.Suspected, "30008": "", "": "", "x": "",
	} {
		f := fields("MessageStatus", "undelivered", "ErrorCode", code)
		r, err := s.Report(callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), f.Encode()))
		if err != nil || r.Why != want || r.Code != code {
			t.Errorf("%s: %+v %v", code, r, err)
		}
	}

	f := fields()
	body := f.Encode()
	twice := callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), body)
	twice.Header.Add("X-Twilio-Signature", "x")
	kinds := callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), body)
	kinds.Header.Add("Content-Type", "text/plain")
	plain := callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), body)
	plain.Header.Set("Content-Type", "text/plain")
	for name, tc := range map[string]struct {
		c   sms.Callback
		err error
	}{
		"as it should be":       {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), body), nil},
		"the other token":       {callback("x=1&ref="+ref, twiliotest.Sign(c.SecondaryToken, at, f), body), nil},
		"with the port":         {callback("x=1&ref="+ref, twiliotest.Sign(testToken, strings.Replace(at, ".com/", ".com:443/", 1), f), body), nil},
		"with the fragment":     {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at+"#rc=2", f), body), sms.ErrForged},
		"a third token":         {callback("x=1&ref="+ref, twiliotest.Sign("33", at, f), body), sms.ErrForged},
		"no token at all":       {callback("x=1&ref="+ref, twiliotest.Sign("", at, f), body), sms.ErrForged},
		"signed twice":          {twice, sms.ErrAmbiguous},
		"of two kinds":          {kinds, sms.ErrAmbiguous},
		"of another kind":       {plain, sms.ErrForged},
		"another query":         {callback("x=2&ref="+ref, twiliotest.Sign(testToken, strings.Replace(at, "x=1", "x=2", 1), f), body), sms.ErrForged},
		"no reference":          {callback("x=1", twiliotest.Sign(testToken, strings.TrimSuffix(at, "&ref="+ref), f), body), sms.ErrForged},
		"a field twice":         {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), body+"&To=x"), sms.ErrAmbiguous},
		"an empty field less":   {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), strings.Replace(body, "Empty=&", "", 1)), sms.ErrForged},
		"no form":               {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, f), "%"), sms.ErrAmbiguous},
		"somebody else's":       {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, fields("AccountSid", "AC2")), fields("AccountSid", "AC2").Encode()), sms.ErrForged},
		"without signed fields": {callback("x=1&ref="+ref, twiliotest.Sign(testToken, at, nil), body), sms.ErrForged},
	} {
		if _, err := s.Report(tc.c); !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.SecondaryToken = ""
	if _, err := sender(t, c).Report(callback("x=1&ref="+ref, twiliotest.Sign("", at, f), body)); !errors.Is(err, sms.ErrForged) {
		t.Errorf("without a second token: %v", err)
	}
	none := sender(t, good())
	if _, err := none.Report(callback("ref="+ref, twiliotest.Sign(testToken, "?ref="+ref, f), body)); !errors.Is(err, sms.ErrForged) {
		t.Errorf("without status_callback: %v", err)
	}
}
