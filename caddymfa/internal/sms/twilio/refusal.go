package twilio

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

// aboutNumber are codes of a 400 or 403 for which another number is needed
// (twilio.com/docs/api/errors). What Twilio blocks as fraud is among them: another
// provider would only be billed for it.
var aboutNumber = map[int]string{
	21201: "the receiver's number cannot be read",
	21211: "the receiver's number is not valid",
	21408: "the receiver's country is switched off in Twilio's Messaging Geo Permissions",
	21610: "the receiver has opted out and must send START to the sender first",
	21612: "this sender cannot reach the receiver's network",
	21614: "the receiver's number is not a mobile phone",
	21635: "the receiver's number is a landline",
	60205: "the receiver's number is a landline",
	60410: "Fraud Guard of Twilio Verify has blocked the receiver's prefix for some hours",
	60605: "the receiver's country is switched off in Twilio Verify's Geo Permissions",
}

// aboutText are codes for which neither the number nor the set-up is at fault;
// another provider may send the text.
var aboutText = map[int]string{
	60203: "this number has had five unanswered codes in ten minutes from Twilio Verify",
	60212: "codes to this number are asked for too fast for Twilio Verify",
	60238: "Twilio blocks this code: the country is under sanctions, or the account's upgrade is being reviewed",
}

// aboutSetup are codes for which an operator is needed, and what to do.
var aboutSetup = map[int]string{
	20003: "Twilio does not accept the credentials: check account_sid with auth_token or api_key",
	20404: "Twilio does not know this account: check account_sid and api_url",
	21212: "Twilio does not accept the sender: check from",
	21603: "Twilio sees no sender: set from or messaging_service",
	21606: "the sender is not a number of this account that can send texts: check from",
	21608: "this is a trial account, which sends to verified numbers only: verify the number or upgrade",
	21617: "the text is too long: shorten the template",
	21703: "the messaging service has no sender: add one in Twilio's console",
	21712: "the messaging service has no sender: add one in Twilio's console",
	30029: "this account may not say what Twilio keeps: take content_retention and address_retention out, or have Message Redaction turned on for the account",
	60204: "the Verify service does not take codes of others: turn on \"Enable Custom Verification Code\" in its settings in Twilio's console",
	60223: "the Verify service does not send texts: turn on the channel SMS in its settings in Twilio's console",
	60228: "the Verify template is not there: check template",
}

// aboutTo is how the message of 60200 names the parameter: the number's, or one
// that an operator has set.
var aboutTo = regexp.MustCompile("(?i)parameter:? *`?To\\b")

// refusal describes an answer that is no message. The HTTP status decides, as
// Twilio asks, because codes are split and added; only among the 400s does the
// code tell a number from a setting. Twilio's own message is left out: it
// quotes the number.
func (r *rest) refusal(a gateway.Answer) *sms.Error {
	e := r.http.Refusal(a)
	var body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(a.Body, &body) // a proxy's page in between has none
	if body.Code != 0 {
		e.Code = strconv.Itoa(body.Code)
	}
	switch a.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests:
		if text, ok := aboutText[body.Code]; ok {
			e.Kind, e.Err = sms.Declined, errors.New(text)
			return e
		}
	}
	switch a.Status {
	case http.StatusBadRequest, http.StatusForbidden:
		if text, ok := aboutNumber[body.Code]; ok {
			e.Kind, e.Why, e.Err = sms.Refused, classes[body.Code], errors.New(text)
			return e
		}
		if body.Code == 60200 && aboutTo.MatchString(body.Message) {
			e.Kind, e.Why, e.Err = sms.Refused, classes[21211], errors.New(aboutNumber[21211])
			return e
		}
		if body.Code == 21611 { // comes with 429 as well
			e.Kind, e.Err = sms.Unavailable, errors.New("the sender's queue at Twilio is full")
			return e
		}
	}
	if e.Kind != sms.Misconfigured {
		return e
	}
	if text, ok := aboutSetup[body.Code]; ok {
		e.Err = errors.New(text)
	} else if body.Code != 0 {
		e.Err = errors.New("see https://www.twilio.com/docs/errors/" + strconv.Itoa(body.Code))
	} else if a.Status == http.StatusUnauthorized {
		e.Err = errors.New(aboutSetup[20003])
	}
	return e
}
