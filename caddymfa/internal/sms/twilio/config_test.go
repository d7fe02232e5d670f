package twilio

import (
	"strings"
	"testing"
	"time"
)

// Invented, as are all SIDs and tokens in this package's tests.
const (
	testAccount = "AC0123456789abcdef0123456789abcdef"
	testToken   = "0123456789abcdef0123456789abcdef"
	testKey     = "SK0123456789abcdef0123456789abcdef"
	testSecret  = "fedcba9876543210fedcba9876543210"
	testService = "MG0123456789abcdef0123456789abcdef"
)

func good() Config {
	return Config{AccountSID: testAccount, AuthToken: testToken, From: "+15005550006"}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*Config)
		complaint string // part of the error, "" for none
	}{
		"token and number":        {func(*Config) {}, ""},
		"api key, no token":       {func(c *Config) { c.AuthToken, c.APIKeySID, c.APIKeySecret = "", testKey, testSecret }, ""},
		"service":                 {func(c *Config) { c.From, c.MessagingService = "", testService }, ""},
		"short code":              {func(c *Config) { c.From = "12345" }, ""},
		"name":                    {func(c *Config) { c.From = "Payroll 1" }, ""},
		"other edge":              {func(c *Config) { c.APIURL = "https://api.dublin.ie1.twilio.com" }, ""},
		"loopback without TLS":    {func(c *Config) { c.APIURL = "http://127.0.0.1:1234/prefix/" }, ""},
		"callback":                {func(c *Config) { c.StatusCallback = "https://sms.example.com/cb?x=1#rc=2" }, ""},
		"privacy":                 {func(c *Config) { c.RiskCheck, c.ContentRetention, c.AddressRetention = "off", "discard", "obfuscate" }, ""},
		"risk check":              {func(c *Config) { c.RiskCheck = "enable" }, "risk_check is on or off"},
		"content retention":       {func(c *Config) { c.ContentRetention = "retain" }, "content_retention can only be discard"},
		"address retention":       {func(c *Config) { c.AddressRetention = "discard" }, "address_retention can only be obfuscate"},
		"no account":              {func(c *Config) { c.AccountSID = "" }, "account_sid is missing"},
		"account cut":             {func(c *Config) { c.AccountSID = testAccount[:30] }, "account_sid is not AC"},
		"key as account":          {func(c *Config) { c.AccountSID = testKey }, "account_sid is not AC"},
		"path in account":         {func(c *Config) { c.AccountSID = "AC/../" + testAccount[8:] }, "account_sid is not AC"},
		"no credentials":          {func(c *Config) { c.AuthToken = "" }, "credentials are missing"},
		"token with underscore":   {func(c *Config) { c.AuthToken = "test_token" }, "auth_token has characters"},
		"token with line break":   {func(c *Config) { c.AuthToken = testToken + "\n" }, "auth_token has characters"},
		"bad token beside a key":  {func(c *Config) { c.AuthToken, c.APIKeySID, c.APIKeySecret = "a b", testKey, testSecret }, "auth_token has characters"},
		"key without secret":      {func(c *Config) { c.APIKeySID = testKey }, "api_key has no secret"},
		"secret without key":      {func(c *Config) { c.APIKeySecret = testSecret }, "api_key has a secret but no SID"},
		"key swapped with secret": {func(c *Config) { c.APIKeySID, c.APIKeySecret = testSecret, testKey }, "the SID of api_key"},
		"secret with dash":        {func(c *Config) { c.APIKeySID, c.APIKeySecret = testKey, "a-b" }, "the secret of api_key"},
		"no sender":               {func(c *Config) { c.From = "" }, "the sender is missing"},
		"both senders":            {func(c *Config) { c.MessagingService = testService }, "both set"},
		"service in from":         {func(c *Config) { c.From = testService }, "write messaging_service in place of from"},
		"number with blanks":      {func(c *Config) { c.From = "+1 500 555 0006" }, "from is no sender"},
		"name too long":           {func(c *Config) { c.From = "Payroll Office" }, "from is no sender"},
		"service malformed":       {func(c *Config) { c.From, c.MessagingService = "", "MG1" }, "messaging_service is not MG"},
		"address without scheme":  {func(c *Config) { c.APIURL = "api.twilio.com" }, "api_url is no address"},
		"address not HTTP":        {func(c *Config) { c.APIURL = "ftp://api.twilio.com" }, "api_url is no address"},
		"address unreadable":      {func(c *Config) { c.APIURL = "https://%zz" }, "api_url is no address"},
		"address without TLS":     {func(c *Config) { c.APIURL = "http://api.example.com" }, "in clear"},
		"address with user":       {func(c *Config) { c.APIURL = "https://u:" + testToken + "@api.example.com" }, "api_url has a user"},
		"callback underscore":     {func(c *Config) { c.StatusCallback = "https://my_host.example.com/" }, "underscore"},
		"callback with a ref":     {func(c *Config) { c.StatusCallback = "https://sms.example.com/?ref=1" }, "names ref"},
		"secondary token":         {func(c *Config) { c.SecondaryToken = "a b" }, "auth_token has characters"},
		"receipts in time":        {func(c *Config) { c.StatusCallback, c.ReceiptTimeout = "https://sms.example.com/", 30*time.Second }, ""},
		"receipts too soon":       {func(c *Config) { c.StatusCallback, c.ReceiptTimeout = "https://sms.example.com/", time.Second }, "5s to 2m0s"},
		"receipts too late":       {func(c *Config) { c.StatusCallback, c.ReceiptTimeout = "https://sms.example.com/", time.Hour }, "5s to 2m0s"},
		"receipts of nobody":      {func(c *Config) { c.ReceiptTimeout = 30 * time.Second }, "without status_callback"},
		"callback relative":       {func(c *Config) { c.StatusCallback = "/status" }, "status_callback is no address"},
		"callback without token": {func(c *Config) {
			c.AuthToken, c.APIKeySID, c.APIKeySecret, c.StatusCallback = "", testKey, testSecret, "https://sms.example.com/"
		}, "status_callback needs auth_token"},
		"negative time": {func(c *Config) { c.Timeout = -1 }, "time-out"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			_, err := New(c)
			switch {
			case tc.complaint == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.complaint != "" && (err == nil || !strings.Contains(err.Error(), tc.complaint)):
				t.Fatalf("error %v, want one with %q", err, tc.complaint)
			case err == nil:
				return
			}
			for _, secret := range []string{testToken, testSecret, testAccount[2:], "5005550006"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a value: %v", err)
				}
			}
		})
	}
}
