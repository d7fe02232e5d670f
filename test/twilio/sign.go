package twiliotest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what Twilio signs with
	"encoding/base64"
	"io"
	"maps"
	"net/url"
	"slices"
)

// Sign is the X-Twilio-Signature of a report to an address, made as Twilio's
// documentation says (twilio.com/docs/usage/security) and not by the library that
// checks it.
func Sign(token, address string, form url.Values) string {
	h := hmac.New(sha1.New, []byte(token))
	_, _ = io.WriteString(h, address)
	for _, k := range slices.Sorted(maps.Keys(form)) {
		_, _ = io.WriteString(h, k+form.Get(k))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
