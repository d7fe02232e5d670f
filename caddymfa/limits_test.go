package caddymfa

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestIncompleteLimits, as JSON can hold them: the Caddyfile refuses them itself.
func TestIncompleteLimits(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "",
		`{"budget":{"n":5,"window":3600000000000}}`:                      "",
		`{"conversion":{"percent":5,"floor":10,"window":3600000000000}}`: "",
		`{"budget":{"n":5}}`:                                              "budget needs",
		`{"user_sends":{"window":3600000000000}}`:                         "user_sends needs",
		`{"ip_logins":{"n":5}}`:                                           "ip_logins needs",
		`{"country_sends":{"n":-1,"window":60000000000}}`:                 "country_sends needs",
		`{"conversion":{"percent":5}}`:                                    "conversion needs",
		`{"conversion":{"percent":101,"floor":1,"window":3600000000000}}`: "conversion needs",
	} {
		a := &App{Limits: &LimitsConfig{}}
		if err := json.Unmarshal([]byte(config), a.Limits); err != nil {
			t.Fatal(err)
		}
		if _, err := a.sendLimits(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}
