// Package sendertest holds a sender against the contract of [caddymfa.Sender]:
// what it sends, what it makes of each kind of answer, that nothing of a text
// leaves by an error, a receipt or an address, and that many may use it at once.
// Run the tests with -race.
//
//	func TestContract(t *testing.T) {
//		sendertest.Run(t, sendertest.Provider{
//			New:     func(url string) (caddymfa.Sender, error) { … },
//			Accept:  func(w http.ResponseWriter, r *http.Request) { … },
//			Got:     func(r *http.Request, body []byte) caddymfa.Message { … },
//			Secrets: []string{apiKey},
//		})
//	}
package sendertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa"
)

// Provider says how a sender is made and how its provider behaves.
type Provider struct {
	// New makes a sender whose provider is at url, e.g. http://127.0.0.1:40123.
	New func(url string) (caddymfa.Sender, error)
	// Accept answers a request in the provider's words for a text that it takes.
	// The body may have been read before. Nil: the sender asks nobody, and only the
	// cases that need no provider are run.
	Accept http.HandlerFunc
	// Got reads what a request asks to be sent: To, and Text or Code.
	Got func(r *http.Request, body []byte) caddymfa.Message
	// Secrets are the credentials that New configures.
	Secrets []string
	// Report is the provider's own report that the text of that Ref to a number was
	// delivered. Nil: the sender is no [caddymfa.SendReporter], or nobody tells it.
	Report func(ref, to string) caddymfa.SendCallback
	// AnyBody: this provider accepts by the status alone, so that any 2xx is a yes.
	AnyBody bool
}

// Case is one part of the contract.
type Case struct {
	Name string
	// Check returns how the sender breaks it, nil when it does not.
	Check func(ctx context.Context, p Provider) error

	offline bool // needs no provider
}

// Run runs all cases that concern the sender.
func Run(t *testing.T, p Provider) {
	t.Helper()
	for _, c := range Cases() {
		if p.Accept == nil && !c.offline {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Check(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
}

// Cases are the parts of the contract.
func Cases() []Case {
	return []Case{
		{Name: "sends what it was given", Check: sendsWhatItWasGiven},
		{Name: "a notice is sent or declined", Check: notice},
		{Name: "many use it at once", Check: manyAtOnce, offline: true},
		{Name: "the context's end is the end", Check: contextEnds},
		{Name: "a context that has ended sends nothing", Check: contextOver},
		{Name: "redirects are not followed", Check: redirects},
		{Name: "429 is later", Check: tooMany},
		{Name: "5xx is doubt", Check: serverErrors},
		{Name: "a lost answer is doubt", Check: lostAnswer},
		{Name: "no connection is no doubt", Check: noConnection},
		{Name: "4xx is not later", Check: clientErrors},
		{Name: "2xx in other words is no success", Check: foreignSuccess},
		{Name: "an endless answer is cut", Check: endless},
		{Name: "errors hold nothing of a text", Check: quoted},
		{Name: "a report is proven", Check: reports, offline: true},
		{Name: "a confirmation ends and tells nothing", Check: confirmation},
	}
}

// Everything is invented.
const (
	number = "+12015550123"
	code   = "987654"
)

func message() caddymfa.Message { return numbered(0) }

// numbered are messages that differ in number and code.
func numbered(i int) caddymfa.Message {
	c := fmt.Sprint(987654 - i)
	return caddymfa.Message{
		To: fmt.Sprintf("+1201555%04d", 123+i), Code: c, Lang: "en", Validity: 5 * time.Minute, Repeatable: true,
		Text: c + " is your \"Example\" & Söhne code.\n\n@login.example.com #" + c,
	}
}

// server is the provider of one case.
type server struct {
	*httptest.Server
	caddymfa.Sender
	mu       sync.Mutex
	got      []caddymfa.Message
	requests int
	leaks    error
}

// start runs a provider that answers with h, and makes a sender for it.
func start(p Provider, h http.HandlerFunc) (*server, error) {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		s.mu.Lock()
		s.requests++
		if p.Got != nil {
			s.got = append(s.got, p.Got(r, body))
		}
		if held := holds(p, r.URL.String()); held != "" && s.leaks == nil {
			s.leaks = fmt.Errorf("%s is in the address of a request", held)
		}
		s.mu.Unlock()
		h(w, r)
	}))
	var err error
	if s.Sender, err = p.New(s.URL); err != nil {
		s.Close()
		return nil, fmt.Errorf("no sender: %w", err)
	}
	return s, nil
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// holds names what of a text, or which secret, s holds; "" for nothing.
func holds(p Provider, s string) string {
	for _, text := range append([]string{number[1:], code}, p.Secrets...) {
		if strings.Contains(s, text) {
			if text == number[1:] || text == code {
				return text
			}
			return "a credential"
		}
	}
	return ""
}

// failure is err as the contract wants it.
func failure(p Provider, err error) (*caddymfa.SendError, error) {
	if err == nil {
		return nil, errors.New("the text counts as accepted")
	}
	for deep := err; deep != nil; deep = errors.Unwrap(deep) {
		if held := holds(p, fmt.Sprintf("%v %+v %#v", deep, deep, deep)); held != "" {
			return nil, fmt.Errorf("%s is in the error of type %T", held, deep)
		}
	}
	var e *caddymfa.SendError
	if !errors.As(err, &e) {
		return nil, fmt.Errorf("the error is a %T, not a *caddymfa.SendError", err)
	}
	return e, nil
}

// fails sends one message and holds the failure against kinds and sent.
func fails(ctx context.Context, p Provider, s caddymfa.Sender, sent bool, kinds ...caddymfa.SendKind) (*caddymfa.SendError, error) {
	r, err := s.Send(ctx, message())
	e, bad := failure(p, err)
	switch {
	case bad != nil:
		return nil, bad
	case r != caddymfa.Receipt{}:
		return nil, errors.New("there is a receipt beside the error")
	case e.Sent != sent:
		return nil, fmt.Errorf("the error has Sent %v", e.Sent)
	case !slices.Contains(kinds, e.Kind):
		return nil, fmt.Errorf("the kind is %d, not one of %d", e.Kind, kinds)
	}
	return e, nil
}

// status answers with one.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// each starts a provider for each handler and checks a sender against it. Exactly
// one request is made.
func each(p Provider, all map[string]http.HandlerFunc, check func(*server) error) error {
	for name, h := range all {
		s, err := start(p, h)
		if err == nil {
			err = check(s)
			s.CloseClientConnections()
			s.Close()
			if n := s.count(); err == nil && n != 1 {
				err = fmt.Errorf("%d requests for one text", n)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func sendsWhatItWasGiven(ctx context.Context, p Provider) error {
	return each(p, map[string]http.HandlerFunc{"accepted": p.Accept}, func(s *server) error {
		r, err := s.Send(ctx, message())
		if err != nil {
			return err
		}
		if held := holds(p, fmt.Sprintf("%+v", r)); held != "" {
			return fmt.Errorf("%s is in the receipt", held)
		}
		if s.leaks != nil {
			return s.leaks
		}
		for _, got := range s.got {
			if err := same(got, message()); err != nil {
				return err
			}
		}
		return nil
	})
}

// same compares what a provider got with what was to be sent.
func same(got, want caddymfa.Message) error {
	switch {
	case got.To != want.To:
		return fmt.Errorf("the provider got the number %q", got.To)
	case got.Text == "" && got.Code == "":
		return errors.New("the provider got neither text nor code")
	case got.Text != "" && got.Text != want.Text:
		return fmt.Errorf("the provider got the text %q", got.Text)
	case got.Code != "" && got.Code != want.Code:
		return fmt.Errorf("the provider got the code %q", got.Code)
	}
	return nil
}

func notice(ctx context.Context, p Provider) error {
	s, err := start(p, p.Accept)
	if err != nil {
		return err
	}
	defer s.Close()
	c, ok := s.Sender.(caddymfa.SendCodesOnly)
	codesOnly := ok && c.CodesOnly()
	m := caddymfa.Message{To: number, Text: "Example: a recovery code was used to sign in.", Lang: "en", Validity: time.Hour}
	_, err = s.Send(ctx, m)
	if codesOnly {
		e, bad := failure(p, err)
		switch {
		case bad != nil:
			return bad
		case e.Kind != caddymfa.SendDeclined || e.Sent:
			return fmt.Errorf("CodesOnly, but the kind is %d, Sent is %v", e.Kind, e.Sent)
		case s.count() != 0:
			return errors.New("CodesOnly, but the provider was asked")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("without CodesOnly a notice is a text like any other: %w", err)
	}
	return same(s.got[0], m)
}

func manyAtOnce(ctx context.Context, p Provider) error {
	const n = 32
	accept := p.Accept
	if accept == nil {
		accept = status(http.StatusTeapot)
	}
	s, err := start(p, accept)
	if err != nil {
		return err
	}
	defer s.Close()
	var all sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		all.Go(func() {
			r, err := s.Send(ctx, numbered(i))
			if m := numbered(i); err == nil && (strings.Contains(fmt.Sprintf("%+v", r), m.To[1:]) || strings.Contains(fmt.Sprintf("%+v", r), m.Code)) {
				err = errors.New("the receipt holds the number or the code")
			}
			failed <- err
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	if p.Accept == nil {
		return nil
	}
	for i := range n {
		m := numbered(i)
		at := slices.IndexFunc(s.got, func(g caddymfa.Message) bool { return g.To == m.To })
		if len(s.got) != n || at < 0 {
			return fmt.Errorf("%d of %d texts arrived, or one went to another number", len(s.got), n)
		}
		if err := same(s.got[at], m); err != nil {
			return fmt.Errorf("a text of somebody else: %w", err)
		}
	}
	return nil
}

// ends is how long a sender may take after its context has ended.
const ends = time.Second

func contextEnds(ctx context.Context, p Provider) error {
	release := make(chan struct{})
	defer close(release)
	hangs := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	drips := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			select {
			case <-release:
				return
			case <-time.After(20 * time.Millisecond):
			}
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}
	all := map[string]http.HandlerFunc{"no answer": hangs, "an answer that does not end": drips}
	if p.AnyBody {
		delete(all, "an answer that does not end")
	}
	return each(p, all, func(s *server) error {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := fails(ctx, p, s, true, caddymfa.SendUnavailable)
		if took := time.Since(begin); took > 200*time.Millisecond+ends {
			return fmt.Errorf("it went on for %s", took)
		}
		return err
	})
}

func contextOver(ctx context.Context, p Provider) error {
	s, err := start(p, p.Accept)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err = fails(ctx, p, s, false, caddymfa.SendUnavailable)
	if err == nil && s.count() != 0 {
		return errors.New("the provider was asked")
	}
	return err
}

func redirects(ctx context.Context, p Provider) error {
	var reached sync.Map
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached.Store(r.Method, true) }))
	defer other.Close()
	all := map[string]http.HandlerFunc{}
	for _, code := range []int{301, 302, 303, 307, 308} {
		for to, address := range map[string]string{"another host": other.URL + "/x", "another path": "/elsewhere"} {
			all[fmt.Sprintf("%d to %s", code, to)] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, address, code) }
		}
	}
	return each(p, all, func(s *server) error {
		_, err := fails(ctx, p, s, false, caddymfa.SendMisconfigured)
		reached.Range(func(any, any) bool {
			err = errors.New("the text went to another host")
			return false
		})
		return err
	})
}

func tooMany(ctx context.Context, p Provider) error {
	return each(p, map[string]http.HandlerFunc{"429": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(http.StatusTooManyRequests)
	}}, func(s *server) error {
		e, err := fails(ctx, p, s, false, caddymfa.SendUnavailable)
		if err == nil && e.RetryAfter != 9*time.Second {
			return fmt.Errorf("RetryAfter is %s, the provider asked for 9s", e.RetryAfter)
		}
		return err
	})
}

func serverErrors(ctx context.Context, p Provider) error {
	all := map[string]http.HandlerFunc{}
	for _, code := range []int{500, 502, 503, 504} {
		all[fmt.Sprint(code)] = status(code)
	}
	return each(p, all, func(s *server) error {
		_, err := fails(ctx, p, s, true, caddymfa.SendUnavailable)
		return err
	})
}

func lostAnswer(ctx context.Context, p Provider) error {
	cut := func(said string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(c, said)
			_ = c.Close()
		}
	}
	all := map[string]http.HandlerFunc{
		"after the request": cut(""),
		"in the head":       cut("HTTP/1.1 201 Created\r\nContent-"),
		"with nonsense":     cut("SSH-2.0-x " + number + "\r\n"),
	}
	if !p.AnyBody {
		all["in the body"] = cut("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"")
	}
	return each(p, all, func(s *server) error {
		_, err := fails(ctx, p, s, true, caddymfa.SendUnavailable)
		return err
	})
}

func noConnection(ctx context.Context, p Provider) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_ = l.Close()
	s, err := p.New("http://" + l.Addr().String())
	if err != nil {
		return err
	}
	_, err = fails(ctx, p, s, false, caddymfa.SendUnavailable)
	return err
}

func clientErrors(ctx context.Context, p Provider) error {
	all := map[string]http.HandlerFunc{}
	for _, code := range []int{400, 401, 403, 404, 405, 422} {
		all[fmt.Sprint(code)] = status(code)
	}
	return each(p, all, func(s *server) error {
		_, err := fails(ctx, p, s, false, caddymfa.SendMisconfigured, caddymfa.SendRefused, caddymfa.SendDeclined)
		return err
	})
}

func foreignSuccess(ctx context.Context, p Provider) error {
	if p.AnyBody {
		return nil
	}
	all := map[string]http.HandlerFunc{"204": status(http.StatusNoContent)}
	for name, body := range map[string]string{"HTML": "<html>Sign in to the network</html>", "nothing": "", "an empty object": "{}", "a list": "[]", "null": "null"} {
		all["200 with "+name] = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	return each(p, all, func(s *server) error {
		_, err := fails(ctx, p, s, true, caddymfa.SendUnavailable)
		return err
	})
}

func endless(ctx context.Context, p Provider) error {
	const most = 32 << 20 // what buffers on the way may hold, generously
	for _, code := range []int{200, 400, 500} {
		var mu sync.Mutex
		var written int64
		err := each(p, map[string]http.HandlerFunc{fmt.Sprint(code): func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 2 * most / len(chunk) {
				n, err := w.Write(chunk)
				mu.Lock()
				written += int64(n)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}}, func(s *server) error {
			_, err := s.Send(ctx, message())
			if code == http.StatusOK && p.AnyBody {
				return err
			}
			_, bad := failure(p, err)
			return bad
		})
		if err != nil {
			return err
		}
		mu.Lock()
		n := written
		mu.Unlock()
		if n > most {
			return fmt.Errorf("%d: %d bytes were read", code, n)
		}
	}
	return nil
}

// quoted answers with the request itself, as providers do that say what they did
// not like.
func quoted(ctx context.Context, p Provider) error {
	all := map[string]http.HandlerFunc{}
	for _, answer := range []int{200, 302, 400, 401, 403, 404, 422, 429, 500, 503} {
		all[fmt.Sprint(answer)] = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			said, _ := json.Marshal(strings.Join(append([]string{number, code, string(body)}, p.Secrets...), " "))
			w.Header().Set("Location", "https://example.com/?to="+number+"&code="+code)
			w.WriteHeader(answer)
			_, _ = fmt.Fprintf(w, `{"code":%[1]s,"error":%[1]s,"message":%[1]s,"id":%[1]s,"sid":%[1]s,"status":"accepted"}`, said)
		}
	}
	err := each(p, all, func(s *server) error {
		r, err := s.Send(ctx, message())
		if err == nil {
			if held := holds(p, fmt.Sprintf("%+v", r)); held != "" {
				return fmt.Errorf("%s is in the receipt", held)
			}
			return nil
		}
		_, bad := failure(p, err)
		return bad
	})
	if err != nil {
		return err
	}
	return noConnection(ctx, p)
}

// reports: what anybody may have sent is believed only as the provider sent it.
func reports(_ context.Context, p Provider) error {
	s, err := start(p, func(http.ResponseWriter, *http.Request) {})
	if err != nil {
		return err
	}
	defer s.Close()
	reporter, ok := s.Sender.(caddymfa.SendReporter)
	switch {
	case p.Report == nil && ok && reporter.Listening():
		return errors.New("its provider is told to report, and Provider.Report does not say how")
	case p.Report == nil:
		return nil
	case !ok || !reporter.Listening():
		return errors.New("it does not listen to its provider's reports")
	case reporter.ReceiptTimeout() < 0:
		return errors.New("a receipt's time is over before the text is sent")
	}
	const ref, other = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	for range 2 { // a report that comes twice is one
		switch rep, err := reporter.Report(p.Report(ref, number)); {
		case err != nil:
			return fmt.Errorf("a genuine report: %w", err)
		case rep.Ref != ref || rep.State != "delivered" || rep.Why != "":
			return fmt.Errorf("of %s it says %q %q, as of %s", ref, rep.State, rep.Why, rep.Ref)
		case rep.To != "" && rep.To != number:
			return fmt.Errorf("it names another receiver")
		}
	}
	swap := strings.NewReplacer(ref, other)
	for name, forge := range map[string]func(*caddymfa.SendCallback){
		"of another text": func(c *caddymfa.SendCallback) {
			c.Query, c.Body = swap.Replace(c.Query), []byte(swap.Replace(string(c.Body)))
		},
		"with another body":   func(c *caddymfa.SendCallback) { c.Body = append(slices.Clone(c.Body), "&x=1"...) },
		"with a body cut off": func(c *caddymfa.SendCallback) { c.Body = c.Body[:len(c.Body)/2] },
		"without a head":      func(c *caddymfa.SendCallback) { c.Header = http.Header{} },
		"empty":               func(c *caddymfa.SendCallback) { *c = caddymfa.SendCallback{Header: http.Header{}} },
	} {
		c := p.Report(ref, number)
		forge(&c)
		rep, err := reporter.Report(c)
		if err == nil {
			return fmt.Errorf("a report %s is believed: %q of %s", name, rep.State, rep.Ref)
		}
		if held := holds(p, err.Error()); held != "" {
			return fmt.Errorf("%s is in the error of a report %s", held, name)
		}
	}
	return nil
}

// accepted is the receipt of a text; ok is false when its provider does not want to
// know more of it.
func accepted(ctx context.Context, p Provider) (r caddymfa.Receipt, ok bool, err error) {
	s, err := start(p, p.Accept)
	if err != nil {
		return r, false, err
	}
	defer s.Close()
	if _, ok = s.Sender.(caddymfa.SendConfirmer); !ok {
		return r, false, nil
	}
	r, err = s.Send(ctx, message())
	return r, true, err
}

func confirmation(ctx context.Context, p Provider) error {
	release := make(chan struct{})
	defer close(release)
	for name, h := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		},
		"500": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, `{"message":%q}`, number+string(body))
		},
	} {
		receipt, ok, err := accepted(ctx, p)
		if err != nil || !ok {
			return err
		}
		s, err := start(Provider{New: p.New}, h)
		if err != nil {
			return err
		}
		err = func() error {
			defer s.Close()
			defer s.CloseClientConnections()
			c := s.Sender.(caddymfa.SendConfirmer) //nolint:forcetypeassert // as it was when it sent
			ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_, bad := failure(p, c.Confirm(ctx, receipt))
			if took := time.Since(begin); took > 200*time.Millisecond+ends {
				return fmt.Errorf("it went on for %s", took)
			}
			return bad
		}()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
