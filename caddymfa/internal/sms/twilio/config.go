package twilio

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// DefaultURL is where Twilio's API is.
const DefaultURL = "https://api.twilio.com"

// Config is an account and a sender.
type Config struct {
	// AccountSID is AC and 32 hexadecimal digits. AuthToken is the account's;
	// it also signs Twilio's status callbacks. SecondaryToken, the other one while
	// the account's is changed, is believed in them as well.
	AccountSID, AuthToken, SecondaryToken string
	// APIKeySID (SK and 32 hexadecimal digits) and APIKeySecret are used for
	// sending in place of the token.
	APIKeySID, APIKeySecret string
	// From is a number in E.164, a short code or a name of up to 11 letters and
	// digits; MessagingService a service's SID. Exactly one of them is set.
	From, MessagingService string
	// APIURL is DefaultURL when empty. A path in it is put before Twilio's own.
	APIURL string
	// StatusCallback is the public address of <path>/receipts of a gate, to which
	// Twilio reports; may be empty.
	StatusCallback string
	// RiskCheck says whether Twilio's SMS pumping protection judges the texts: on,
	// off, or "" for what the account has.
	RiskCheck string
	// ContentRetention is discard, and AddressRetention obfuscate, where Twilio
	// shall keep no text, or no number in full; "" keeps them. Both need Message
	// Redaction on the account (twilio.com/docs/messaging/guides/privacy-message-redaction).
	ContentRetention, AddressRetention string
	// ReceiptTimeout is how long the report that a text was delivered may take
	// until another sender is to send it as well: 5 s to 2 min, 0 for ever.
	ReceiptTimeout time.Duration
	// Timeout bounds one text, a second try included. Default 5 s.
	Timeout time.Duration
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	keySID     = regexp.MustCompile(`^SK[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	verifySID  = regexp.MustCompile(`^VA[0-9a-fA-F]{32}$`)
	// The SIDs of Verify's templates.
	templateSID = regexp.MustCompile(`^HJ[0-9a-fA-F]{32}$`)
	number      = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$|^[0-9]{3,8}$`)
	alpha       = regexp.MustCompile(`^[0-9A-Za-z &+_-]{1,11}$`)
	letter      = regexp.MustCompile(`[A-Za-z]`)
	// Twilio's own library refuses other credentials (errors 21222, 21224).
	plain = regexp.MustCompile(`^[a-zA-Z0-9]+$`)
)

// check says what is wrong, and names no value: most of them are secret. It
// returns the parsed APIURL and StatusCallback.
func (c *Config) check() (base, report *url.URL, err error) {
	for _, check := range []func() error{c.checkAccount, c.checkSender, c.checkPrivacy} {
		if err := check(); err != nil {
			return nil, nil, err
		}
	}
	if report, err = c.callback(); err != nil {
		return nil, nil, err
	}
	base, err = c.apiURL(DefaultURL)
	return base, report, err
}

func (c *Config) checkAccount() error {
	switch {
	case c.AccountSID == "":
		return errors.New("account_sid is missing: Twilio's console shows it, AC and 32 hexadecimal digits")
	case !accountSID.MatchString(c.AccountSID):
		return errors.New("account_sid is not AC and 32 hexadecimal digits: copy it from Twilio's console")
	case c.Timeout < 0:
		return errors.New("the time-out is negative: leave it out for 5 s")
	}
	return c.checkCredentials()
}

// riskChecks are the values of the API's RiskCheck.
var riskChecks = map[string]string{"on": "enable", "off": "disable"}

func checkRisk(word string) error {
	if word != "" && riskChecks[word] == "" {
		return errors.New("risk_check is on or off: leave it out for what the account has")
	}
	return nil
}

func (c *Config) checkPrivacy() error {
	switch {
	case c.ContentRetention != "" && c.ContentRetention != "discard":
		return errors.New("content_retention can only be discard: leave it out where Twilio may keep the texts")
	case c.AddressRetention != "" && c.AddressRetention != "obfuscate":
		return errors.New("address_retention can only be obfuscate: leave it out where Twilio may keep the numbers")
	}
	return checkRisk(c.RiskCheck)
}

func (c *Config) checkCredentials() error {
	switch {
	case c.APIKeySID == "" && c.APIKeySecret != "":
		return errors.New("api_key has a secret but no SID: write both, the SID first")
	case c.APIKeySID != "" && !keySID.MatchString(c.APIKeySID):
		return errors.New("the SID of api_key is not SK and 32 hexadecimal digits: write the SID, then its secret")
	case c.APIKeySID != "" && c.APIKeySecret == "":
		return errors.New("api_key has no secret: write it after the SID; Twilio shows it once, when the key is made")
	case c.APIKeySID != "" && !plain.MatchString(c.APIKeySecret):
		return errors.New("the secret of api_key has characters other than letters and digits, which no Twilio secret has: copy it again, without quotes and blanks")
	case c.APIKeySID == "" && c.AuthToken == "":
		return errors.New("credentials are missing: write api_key (better) or auth_token")
	case c.AuthToken != "" && !plain.MatchString(c.AuthToken), c.SecondaryToken != "" && !plain.MatchString(c.SecondaryToken):
		return errors.New("auth_token has characters other than letters and digits, which no Twilio token has: copy it again, without quotes and blanks")
	}
	return nil
}

func (c *Config) checkSender() error {
	switch {
	case c.From == "" && c.MessagingService == "":
		return errors.New("the sender is missing: write from, or messaging_service")
	case c.From != "" && c.MessagingService != "":
		return errors.New("from and messaging_service are both set, and Twilio takes one of them: remove from to let the service choose the number")
	case c.MessagingService != "" && !serviceSID.MatchString(c.MessagingService):
		return errors.New("messaging_service is not MG and 32 hexadecimal digits: copy its SID from Twilio's console")
	case serviceSID.MatchString(c.From):
		return errors.New("from is the SID of a messaging service: write messaging_service in place of from")
	case c.From != "" && !number.MatchString(c.From) && !(alpha.MatchString(c.From) && letter.MatchString(c.From)):
		return errors.New("from is no sender: write a number with + and country code and without blanks, a short code, or a name of up to 11 letters and digits")
	}
	return nil
}

// Bounds of ReceiptTimeout.
const (
	minReceipt = 5 * time.Second
	maxReceipt = 2 * time.Minute
)

func (c *Config) callback() (*url.URL, error) {
	if d := c.ReceiptTimeout; d != 0 && (d < minReceipt || d > maxReceipt) {
		return nil, fmt.Errorf("receipt_timeout %s: %s to %s are possible: a text takes some seconds, and a person does not wait longer", d, minReceipt, maxReceipt)
	}
	if c.StatusCallback == "" {
		if c.ReceiptTimeout != 0 {
			return nil, errors.New("receipt_timeout without status_callback: no receipt would ever come, and every text would be sent twice; add status_callback https://<host>/mfa/receipts")
		}
		return nil, nil
	}
	u, err := url.Parse(c.StatusCallback)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("status_callback is no address: write the public one that Twilio can reach, with https://")
	case strings.Contains(u.Host, "_"):
		return nil, errors.New("the host of status_callback has an underscore, which Twilio refuses: use another name")
	case u.Query().Has("ref") || u.Query().Has("bodySHA256"):
		return nil, errors.New("the query of status_callback names ref or bodySHA256: the gate adds the first, and Twilio the other; leave them out")
	case c.AuthToken == "":
		return nil, errors.New("status_callback needs auth_token, also with api_key: Twilio signs its reports with the account's token")
	}
	return u, nil
}

func (c *Config) apiURL(own string) (*url.URL, error) {
	if c.APIURL == "" {
		c.APIURL = own
	}
	u, err := url.Parse(c.APIURL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("api_url is no address: it begins with https:// and a host; leave it out for Twilio's own")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("api_url has a user, a query or a fragment: write scheme, host and path only")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("api_url begins with http://, which would send the credentials in clear: write https:// (http:// is for this machine only)")
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
