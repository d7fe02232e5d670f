package directory

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
)

// HTTP is a directory behind an address that answers in JSON. It is safe for
// concurrent use.
type HTTP struct {
	c      HTTPConfig
	client *http.Client
}

// HTTPConfig says whom to ask, and where in the answer the number stands.
type HTTPConfig struct {
	// URL is asked by GET; {user} is the name, escaped. https only, but for this machine.
	URL string
	// Header are sent along, e.g. Authorization.
	Header http.Header
	// JSON is the dotted path of the number in the answer. Default phone.
	JSON string
	// Region is the country that numbers without a country code are read in, "" for none.
	Region string
	// TLS are the roots and the client's certificate; nil is the system's.
	TLS *tls.Config
	// Timeout bounds a look-up. Default 5 s.
	Timeout time.Duration
}

// maxAnswer bounds the answer about one user, in bytes.
const maxAnswer = 64 << 10

// NewHTTP checks the configuration. It does not ask.
func NewHTTP(c HTTPConfig) (*HTTP, error) {
	if c.JSON == "" {
		c.JSON = "phone"
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Timeout < 0 || c.Timeout > 30*time.Second {
		return nil, fmt.Errorf("timeout %s: at most 30s, somebody is waiting", c.Timeout)
	}
	u, err := url.Parse(strings.ReplaceAll(c.URL, placeholder, "x"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q is no address: write https://…/{user}", c.URL)
	case !strings.Contains(c.URL, placeholder):
		return nil, fmt.Errorf("%q gives the same answer for everybody: put {user} into it", c.URL)
	case strings.Contains(strings.SplitN(c.URL, "//", 2)[1], "@"):
		return nil, errors.New("the address holds a password: use header Authorization")
	case u.Scheme == "http" && !local(u.Hostname()):
		return nil, fmt.Errorf("%s: numbers would travel in clear text: use https", u.Host)
	}
	host, _, _ := strings.Cut(strings.SplitN(c.URL, "//", 2)[1], "/")
	if strings.Contains(host, placeholder) {
		return nil, errors.New("{user} stands in the host: a user's name would choose the server")
	}
	tr := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	tr.TLSClientConfig, tr.MaxIdleConnsPerHost = c.TLS, 8
	return &HTTP{c: c, client: &http.Client{
		Transport: tr, Timeout: c.Timeout,
		// The name would be sent to a host that nobody has configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Number implements the flow's Directory. 404, and an answer without the number,
// are nobody; every other status but 200 is an error.
func (d *HTTP) Number(ctx context.Context, user string) (string, error) {
	if user == "" || user == "." || user == ".." {
		return "", nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address(user), http.NoBody)
	if err != nil {
		return "", errors.New("directory: this name makes no address")
	}
	maps.Copy(req.Header, d.c.Header)
	req.Header.Set("Accept", "application/json")
	res, err := d.client.Do(req)
	if err != nil {
		// The library's words hold the address, and with it the user's name.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return "", fmt.Errorf("directory: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("directory: %w", err)
	case res.StatusCode == http.StatusNotFound:
		return "", nil
	case res.StatusCode != http.StatusOK:
		return "", fmt.Errorf("directory: status %d", res.StatusCode)
	case len(body) > maxAnswer:
		return "", fmt.Errorf("directory: the answer is longer than %d bytes", maxAnswer)
	}
	text, err := dig(body, d.c.JSON)
	if text == "" || err != nil {
		return "", err
	}
	n, err := phone.Parse(text, d.c.Region)
	if err != nil {
		return "", nil //nolint:nilerr // an entry without a number that could be used
	}
	return n.E164(), nil
}

// address escapes the name as a part of the path, which is also right in a query.
func (d *HTTP) address(user string) string {
	escaped := strings.ReplaceAll(url.QueryEscape(user), "+", "%20")
	return strings.ReplaceAll(d.c.URL, placeholder, escaped)
}

// dig finds the text at a dotted path; "" when there is none or it is null.
func dig(body []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return "", errors.New("directory: the answer is no JSON")
	}
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return "", nil
		}
		v = m[part]
	}
	text, ok := v.(string)
	if v != nil && !ok {
		return "", fmt.Errorf("directory: %s in the answer is no text", path)
	}
	return text, nil
}
