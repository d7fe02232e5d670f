package twiliotest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Message is a text that the stand-in has accepted.
type Message struct {
	SID    string `json:"sid"`
	From   string `json:"from"`
	To     string `json:"to"`
	Body   string `json:"body"`
	Status string `json:"status"`
	// MessagingService is empty when From was named.
	MessagingService string `json:"messaging_service_sid"`
}

// Messages are the texts to a number in E.164, oldest first; to all numbers
// when it is "". It reads up to 1000.
func (s *Server) Messages(to string) []Message {
	s.tb.Helper()
	all, err := s.page(s.tb.Context(), s.list, to)
	if err != nil {
		s.tb.Fatalf("twilio stand-in: %v", err)
	}
	return all
}

var (
	bound   = regexp.MustCompile(`(?:^|\n)@\S+ #([0-9]{4,10})$`)
	leading = regexp.MustCompile(`^[0-9]{4,10}\b`)
)

// LastCode is the code in the newest text to a number, from the line that binds
// it to a site, or else from the beginning. It is "" when there is none.
func (s *Server) LastCode(to string) string {
	s.tb.Helper()
	all := s.Messages(to)
	if len(all) == 0 {
		return ""
	}
	body := all[len(all)-1].Body
	if m := bound.FindStringSubmatch(body); m != nil {
		return m[1]
	}
	return leading.FindString(body)
}

// Verification is the code of the newest Verification of a number, and its status,
// e.g. pending; both are "" when there is none.
func (s *Server) Verification(to string) (code, status string) {
	s.tb.Helper()
	req, err := http.NewRequestWithContext(s.tb.Context(), http.MethodGet, s.list+"/_twilio/simulate/verification-code?"+url.Values{"To": {to}}.Encode(), nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	req.SetBasicAuth(s.AccountSID, s.AuthToken)
	res, err := client.Do(req)
	if err != nil {
		s.tb.Fatalf("twilio stand-in: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	var v struct{ Code, Status string }
	if res.StatusCode == http.StatusNotFound {
		return "", ""
	}
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil || res.StatusCode != http.StatusOK {
		s.tb.Fatalf("twilio stand-in: %s, %v", res.Status, err)
	}
	return v.Code, v.Status
}

// page lists messages by Twilio's own API, which gives the newest first.
func (s *Server) page(ctx context.Context, base, to string) ([]Message, error) {
	query := url.Values{"PageSize": {"1000"}}
	if to != "" {
		query.Set("To", to)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/2010-04-01/Accounts/"+s.AccountSID+"/Messages.json?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(s.AccountSID, s.AuthToken)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the list of messages answers %s", res.Status)
	}
	var list struct {
		Messages []Message `json:"messages"`
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("the list of messages: %w", err)
	}
	slices.Reverse(list.Messages)
	return list.Messages, nil
}

// Report has the stand-in report a text's new status, e.g. delivered, to its
// status callback, as Twilio does later and by itself. It returns when the
// callback was answered.
func (s *Server) Report(sid, status string) {
	s.tb.Helper()
	form := url.Values{"MessageSid": {sid}, "Status": {status}}
	req, err := http.NewRequestWithContext(s.tb.Context(), http.MethodPost, s.list+"/_twilio/simulate/message-status", strings.NewReader(form.Encode()))
	if err != nil {
		s.tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(s.AccountSID, s.AuthToken)
	res, err := client.Do(req)
	if err != nil {
		s.tb.Fatalf("twilio stand-in: %v", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.tb.Fatalf("twilio stand-in: a report of %s is answered %s", status, res.Status)
	}
}
