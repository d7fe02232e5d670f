package sendertest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa"
	"github.com/caddymfa/caddymfa/caddymfa/sendertest"
)

const key = "invented-key-0123456789"

// sound keeps the contract.
type sound struct {
	url    string
	client *caddymfa.SenderClient
}

func newSound(url string) *sound {
	return &sound{url: url, client: caddymfa.NewSenderClient("sound", 0)}
}

func request(ctx context.Context, url string, m caddymfa.Message) *http.Request {
	body, _ := json.Marshal(map[string]string{"to": m.To, "text": m.Text})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	return req
}

func (s *sound) Send(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
	return s.do(request(ctx, s.url, m))
}

func (s *sound) do(req *http.Request) (caddymfa.Receipt, error) {
	a, err := s.client.Do(req)
	var answer struct{ ID string }
	switch {
	case err != nil:
		return caddymfa.Receipt{}, err
	case a.Status < 200 || a.Status > 299:
		return caddymfa.Receipt{}, s.client.Refusal(a)
	case a.Cut || json.Unmarshal(a.Body, &answer) != nil || len(answer.ID) != 2:
		return caddymfa.Receipt{}, s.client.Unreadable(a)
	}
	return caddymfa.Receipt{ID: answer.ID}, nil
}

// Confirm keeps the contract as well.
func (s *sound) Confirm(ctx context.Context, r caddymfa.Receipt) error {
	_, err := s.do(request(ctx, s.url+"/confirm", caddymfa.Message{Text: r.ID}))
	return err
}

func (s *sound) Listening() bool { return true }

func (s *sound) ReceiptTimeout() time.Duration { return 0 }

// Report believes what is signed by its key.
func (s *sound) Report(c caddymfa.SendCallback) (caddymfa.SendReport, error) {
	if !hmac.Equal([]byte(c.Header.Get("X-Signature")), []byte(signature(c.Query, c.Body))) {
		return caddymfa.SendReport{}, errors.New("not signed")
	}
	v, err := url.ParseQuery(string(c.Body))
	return caddymfa.SendReport{Ref: v.Get("ref"), To: v.Get("to"), State: "delivered"}, err
}

func signature(query string, body []byte) string {
	h := hmac.New(sha256.New, []byte(key))
	_, _ = fmt.Fprintf(h, "%q %q", query, body)
	return hex.EncodeToString(h.Sum(nil))
}

func report(ref, to string) caddymfa.SendCallback {
	body := []byte(url.Values{"ref": {ref}, "to": {to}}.Encode())
	return caddymfa.SendCallback{Header: http.Header{"X-Signature": {signature("", body)}}, Body: body}
}

// reporting changes what a sender makes of a report.
type reporting struct {
	*sound
	change func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error)
}

func (r reporting) Report(c caddymfa.SendCallback) (caddymfa.SendReport, error) {
	return r.change(r.sound, c)
}

func reported(change func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error)) func(*sound) caddymfa.Sender {
	return func(s *sound) caddymfa.Sender { return reporting{s, change} }
}

func provider(change func(*sound) caddymfa.Sender) sendertest.Provider {
	return sendertest.Provider{
		New:    func(url string) (caddymfa.Sender, error) { return change(newSound(url)), nil },
		Accept: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":"17"}`) },
		Got: func(_ *http.Request, body []byte) caddymfa.Message {
			var v struct{ To, Text string }
			_ = json.Unmarshal(body, &v)
			return caddymfa.Message{To: v.To, Text: v.Text}
		},
		Secrets: []string{key},
		Report:  report,
	}
}

func TestASoundSenderPasses(t *testing.T) {
	sendertest.Run(t, provider(func(s *sound) caddymfa.Sender { return s }))
}

// send is a sender by its method.
type send func(context.Context, caddymfa.Message) (caddymfa.Receipt, error)

func (f send) Send(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
	return f(ctx, m)
}

// given changes what a sender is given.
func given(change func(context.Context, caddymfa.Message) (context.Context, caddymfa.Message)) func(*sound) caddymfa.Sender {
	return func(s *sound) caddymfa.Sender {
		return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) { return s.Send(change(ctx, m)) })
	}
}

// failing changes what a sender says of its failures.
func failing(change func(e *caddymfa.SendError) error) func(*sound) caddymfa.Sender {
	return func(s *sound) caddymfa.Sender {
		return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
			r, err := s.Send(ctx, m)
			if e, ok := errors.AsType[*caddymfa.SendError](err); ok {
				return r, change(e)
			}
			return r, err
		})
	}
}

// kind says another kind of failures with this code.
func kind(code string, k caddymfa.SendKind, sent bool) func(*sound) caddymfa.Sender {
	return failing(func(e *caddymfa.SendError) error {
		if e.Code == code {
			e.Kind, e.Sent = k, sent
		}
		return e
	})
}

// own answers by a client of its own.
func own(c *http.Client, judge func(caddymfa.Message, *http.Response) error) func(*sound) caddymfa.Sender {
	return func(s *sound) caddymfa.Sender {
		return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
			res, err := c.Do(request(ctx, s.url, m))
			if err != nil {
				return caddymfa.Receipt{}, &caddymfa.SendError{Kind: caddymfa.SendUnavailable, Sent: true, Err: errors.New("no answer")}
			}
			defer func() { _ = res.Body.Close() }()
			return caddymfa.Receipt{}, judge(m, res)
		})
	}
}

func unavailable(sent bool, why string) error {
	return &caddymfa.SendError{Kind: caddymfa.SendUnavailable, Code: "x", Sent: sent, Err: errors.New(why)}
}

// confirms is a sender with a confirmation of its own.
type confirms struct {
	*sound
	confirm func(context.Context, caddymfa.Receipt) error
}

func (c confirms) Confirm(ctx context.Context, r caddymfa.Receipt) error { return c.confirm(ctx, r) }

// codesOnly says that it takes no notices, and does what the sender does.
type codesOnly struct{ caddymfa.Sender }

func (codesOnly) CodesOnly() bool { return true }

var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// TestEveryCaseCatchesItsFault: for each case there are senders with a fault that
// it must see.
func TestEveryCaseCatchesItsFault(t *testing.T) {
	faults := map[string]map[string]func(*sound) caddymfa.Sender{
		"sends what it was given": {
			"another number": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) {
				m.To = "+12015550199"
				return ctx, m
			}),
			"a text without its last line": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) {
				m.Text = m.Text[:20]
				return ctx, m
			}),
			"no text": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) {
				m.Text = ""
				return ctx, m
			}),
			"twice": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					_, _ = s.Send(ctx, m)
					return s.Send(ctx, m)
				})
			},
			"not at all": func(*sound) caddymfa.Sender {
				return send(func(context.Context, caddymfa.Message) (caddymfa.Receipt, error) { return caddymfa.Receipt{}, nil })
			},
			"the code in the address": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					return s.do(request(ctx, s.url+"/?code="+m.Code, m))
				})
			},
			"the key in the address": func(s *sound) caddymfa.Sender { s.url += "/?key=" + key; return s },
			"the number in the receipt": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					_, err := s.Send(ctx, m)
					return caddymfa.Receipt{ID: m.To}, err
				})
			},
		},
		"a notice is sent or declined": {
			"an empty code": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					m.Text = m.Code
					return s.Send(ctx, m)
				})
			},
			"declined without CodesOnly": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					if m.Code == "" {
						return caddymfa.Receipt{}, &caddymfa.SendError{Kind: caddymfa.SendDeclined}
					}
					return s.Send(ctx, m)
				})
			},
			"CodesOnly, but sent": func(s *sound) caddymfa.Sender { return codesOnly{s} },
			"CodesOnly, as a fault": func(*sound) caddymfa.Sender {
				return codesOnly{send(func(context.Context, caddymfa.Message) (caddymfa.Receipt, error) {
					return caddymfa.Receipt{}, &caddymfa.SendError{Kind: caddymfa.SendMisconfigured, Err: errors.New("no code")}
				})}
			},
		},
		"many use it at once": {
			"one message for all": func(s *sound) caddymfa.Sender {
				var mu sync.Mutex
				var m caddymfa.Message
				return send(func(ctx context.Context, mine caddymfa.Message) (caddymfa.Receipt, error) {
					mu.Lock()
					m = mine
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					mu.Lock()
					sent := m
					mu.Unlock()
					return s.Send(ctx, sent)
				})
			},
			"busy when used": func(s *sound) caddymfa.Sender {
				var mu sync.Mutex
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					if !mu.TryLock() {
						return caddymfa.Receipt{}, unavailable(false, "busy")
					}
					defer mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					return s.Send(ctx, m)
				})
			},
		},
		"the context's end is the end": {
			"a time of its own": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
				time.AfterFunc(3*time.Second, cancel)
				return ctx, m
			}),
			"sure that half an answer means nothing": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 100))
				return unavailable(false, "unreadable")
			}),
			"sure that nothing was sent": kind("no_answer", caddymfa.SendUnavailable, false),
		},
		"a context that has ended sends nothing": {
			"the context is ignored": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) {
				return context.WithoutCancel(ctx), m
			}),
			"doubt where there is none": kind("connect", caddymfa.SendUnavailable, true),
		},
		"redirects are not followed": {
			"followed": own(http.DefaultClient, func(_ caddymfa.Message, res *http.Response) error {
				return &caddymfa.SendError{Kind: caddymfa.SendMisconfigured, Code: res.Status, Err: errors.New("a redirect")}
			}),
			"taken for a yes": own(noRedirect, func(caddymfa.Message, *http.Response) error { return nil }),
			"later": failing(func(e *caddymfa.SendError) error {
				e.Kind = caddymfa.SendUnavailable
				return e
			}),
		},
		"429 is later": {
			"an operator is needed": kind("429", caddymfa.SendMisconfigured, false),
			"doubt":                 kind("429", caddymfa.SendUnavailable, true),
			"no word of when": failing(func(e *caddymfa.SendError) error {
				e.RetryAfter = 0
				return e
			}),
			"tried again": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					_, _ = s.Send(ctx, m)
					return s.Send(ctx, m)
				})
			},
		},
		"5xx is doubt": {
			"no doubt":    kind("503", caddymfa.SendUnavailable, false),
			"the number":  kind("500", caddymfa.SendRefused, true),
			"tried again": twiceOn("502"),
		},
		"a lost answer is doubt": {
			"no doubt":    kind("no_answer", caddymfa.SendUnavailable, false),
			"tried again": twiceOn("no_answer"),
			"half an answer will do": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				_, _ = io.ReadAll(res.Body)
				return nil
			}),
		},
		"no connection is no doubt": {
			"doubt":      kind("connect", caddymfa.SendUnavailable, true),
			"the number": kind("connect", caddymfa.SendRefused, false),
		},
		"4xx is not later": {
			"later": kind("400", caddymfa.SendUnavailable, false),
			"doubt": kind("404", caddymfa.SendMisconfigured, true),
			"a yes": own(noRedirect, func(caddymfa.Message, *http.Response) error { return nil }),
		},
		"2xx in other words is no success": {
			"the status will do": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				if res.StatusCode == http.StatusOK {
					return nil
				}
				return unavailable(true, "status")
			}),
			"JSON will do": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				body, _ := io.ReadAll(res.Body)
				if json.Valid(body) {
					return nil
				}
				return unavailable(true, "no JSON")
			}),
			"no doubt": kind("200", caddymfa.SendUnavailable, false),
		},
		"an endless answer is cut": {
			"read to its end": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				_, _ = io.ReadAll(res.Body)
				return unavailable(true, "unreadable")
			}),
			"taken for a yes": own(noRedirect, func(caddymfa.Message, *http.Response) error { return nil }),
		},
		"errors hold nothing of a text": {
			"the answer is quoted": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				body, _ := io.ReadAll(res.Body)
				return unavailable(true, string(body))
			}),
			"the redirect is quoted": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				return unavailable(true, res.Header.Get("Location"))
			}),
			"the code of an error is quoted": own(noRedirect, func(_ caddymfa.Message, res *http.Response) error {
				var v struct{ Code string }
				_ = json.NewDecoder(res.Body).Decode(&v)
				return &caddymfa.SendError{Code: v.Code, Err: errors.New("refused")}
			}),
			"the number is named": own(noRedirect, func(m caddymfa.Message, _ *http.Response) error {
				return unavailable(true, "no text to "+m.To)
			}),
			"the receipt is quoted": func(s *sound) caddymfa.Sender {
				return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
					a, err := s.client.Do(request(ctx, s.url, m))
					if err != nil {
						return caddymfa.Receipt{}, err
					} else if a.Status != http.StatusOK {
						return caddymfa.Receipt{}, s.client.Refusal(a)
					}
					var r caddymfa.Receipt
					_ = json.Unmarshal(a.Body, &r)
					return r, nil
				})
			},
			"only deep inside": failing(func(e *caddymfa.SendError) error {
				return fmt.Errorf("x: %w", hidden{e, key})
			}),
			"another error": failing(func(e *caddymfa.SendError) error { return errors.New(e.Code) }),
			"where nobody is there": failing(func(e *caddymfa.SendError) error {
				if e.Code == "connect" {
					e.Err = errors.New("POST with Authorization: " + key)
				}
				return e
			}),
		},
		"a confirmation ends and tells nothing": {
			"a time of its own": func(s *sound) caddymfa.Sender {
				return confirms{s, func(ctx context.Context, r caddymfa.Receipt) error {
					ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
					defer cancel()
					return s.Confirm(ctx, r)
				}}
			},
			"a credential is named": func(s *sound) caddymfa.Sender {
				return confirms{s, func(context.Context, caddymfa.Receipt) error { return unavailable(false, key) }}
			},
			"never fails": func(s *sound) caddymfa.Sender {
				return confirms{s, func(context.Context, caddymfa.Receipt) error { return nil }}
			},
		},
	}
	faults["a report is proven"] = map[string]func(*sound) caddymfa.Sender{
		"it does not listen": given(func(ctx context.Context, m caddymfa.Message) (context.Context, caddymfa.Message) { return ctx, m }),
		"everything is believed": reported(func(_ *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
			v, err := url.ParseQuery(string(c.Body))
			return caddymfa.SendReport{Ref: v.Get("ref"), State: "delivered"}, err
		}),
		"a signature is enough, whatever it is of": reported(func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
			if c.Header.Get("X-Signature") == "" {
				return caddymfa.SendReport{}, errors.New("not signed")
			}
			v, _ := url.ParseQuery(string(c.Body))
			return caddymfa.SendReport{Ref: v.Get("ref"), State: "delivered"}, nil
		}),
		"nothing is believed": reported(func(*sound, caddymfa.SendCallback) (caddymfa.SendReport, error) {
			return caddymfa.SendReport{}, errors.New("no")
		}),
		"of another text": reported(func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
			r, err := s.Report(c)
			r.Ref = ""
			return r, err
		}),
		"always a failure": reported(func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
			r, err := s.Report(c)
			r.State = "failed"
			return r, err
		}),
		"once only": func(s *sound) caddymfa.Sender {
			seen := false
			return reporting{s, func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
				if seen {
					return caddymfa.SendReport{}, errors.New("known")
				}
				seen = true
				return s.Report(c)
			}}
		},
		"the error quotes": reported(func(s *sound, c caddymfa.SendCallback) (caddymfa.SendReport, error) {
			r, err := s.Report(c)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, c.Body)
			}
			return r, err
		}),
	}
	for _, c := range sendertest.Cases() {
		wrong := faults[c.Name]
		if len(wrong) == 0 {
			t.Errorf("no faulty sender for %q", c.Name)
		}
		for name, change := range wrong {
			t.Run(c.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				if err := c.Check(t.Context(), provider(change)); err == nil {
					t.Error("the fault was not seen")
				} else {
					t.Log(err)
				}
			})
		}
		delete(faults, c.Name)
	}
	for name := range faults {
		t.Errorf("there is no case %q", name)
	}
}

// twiceOn tries again after a failure of this code.
func twiceOn(code string) func(*sound) caddymfa.Sender {
	return func(s *sound) caddymfa.Sender {
		return send(func(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
			r, err := s.Send(ctx, m)
			var e *caddymfa.SendError
			if errors.As(err, &e) && e.Code == code {
				return s.Send(ctx, m)
			}
			return r, err
		})
	}
}

// hidden holds what its text does not show.
type hidden struct {
	error
	key string
}

func (h hidden) Unwrap() error { return h.error }
