package twilio

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

// aboutNumber are codes of a 400 for which another number is needed
// (twilio.com/docs/api/errors).
var aboutNumber = map[int]string{
	21201: "the receiver's number cannot be read",
	21211: "the receiver's number is not valid",
	21408: "the receiver's country is switched off in Twilio's Messaging Geo Permissions",
	21610: "the receiver has opted out and must send START to the sender first",
	21612: "this sender cannot reach the receiver's network",
	21614: "the receiver's number is not a mobile phone",
	21635: "the receiver's number is a landline",
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
}

// refusal describes an answer that is no message. The HTTP status decides, as
// Twilio asks, because codes are split and added; only among the 400s does the
// code tell a number from a setting. Twilio's own message is left out: it
// quotes the number.
func (s *Sender) refusal(a gateway.Answer) *sms.Error {
	e := s.http.Refusal(a)
	var body struct {
		Code int `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &body) // a proxy's page in between has none
	if body.Code != 0 {
		e.Code = strconv.Itoa(body.Code)
	}
	// 21408 is documented with 400 and with 403.
	if a.Status == http.StatusBadRequest || a.Status == http.StatusForbidden && body.Code == 21408 {
		if text, ok := aboutNumber[body.Code]; ok {
			e.Kind, e.Err = sms.Refused, errors.New(text)
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
