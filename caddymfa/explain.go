package caddymfa

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
)

func explainCommand() *cobra.Command {
	var config, adapter, method, data string
	var headers []string
	var target string
	c := &cobra.Command{
		Use:   "explain --config <file> --url <url> [--method <method>] [--header <name: value>]... [--data <body>]",
		Short: "Says step by step what the gate makes of a request, and which rule said so",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := url.Parse(target)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return fmt.Errorf("--url %q: write a whole address, such as https://app.example.com/path", target)
			}
			servers, _, _, err := provisioned(config, adapter)
			if err != nil {
				return err
			}
			r, err := request(method, u, headers, data)
			if err != nil {
				return err
			}
			return explain(cmd.OutOrStdout(), servers, r)
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "", "configuration file")
	c.Flags().StringVarP(&adapter, "adapter", "a", "", "name of the adapter, where the file is no Caddyfile and no JSON")
	c.Flags().StringVar(&target, "url", "", "address of the request, as a browser has it")
	c.Flags().StringVar(&method, "method", "", "method of the request (default: GET, or POST with --data)")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header field of the request, may be repeated")
	c.Flags().StringVarP(&data, "data", "d", "", "body of the request: a form, or JSON with --header 'Content-Type: application/json'")
	return c
}

// provisioned loads a configuration as "caddy validate" does: nothing listens,
// and no store is opened. text is the configuration in JSON, read the file that
// was read.
func provisioned(file, adapter string) (servers *caddyhttp.App, text []byte, read string, err error) {
	if text, read, _, err = caddycmd.LoadConfig(file, adapter); err != nil {
		return nil, nil, "", err
	}
	var cfg *caddy.Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return nil, nil, "", fmt.Errorf("the configuration: %w", err)
	}
	if cfg == nil {
		return nil, nil, "", errors.New("the configuration is empty: name a file with --config")
	}
	// Neither the admin endpoint nor its autosave has a part in this, and nothing
	// is said but what was asked for.
	off := false
	cfg.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &off}}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		return nil, nil, "", err
	}
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return nil, nil, "", errors.New("the configuration has no site")
	}
	return app.(*caddyhttp.App), text, read, nil //nolint:forcetypeassert // the app of that name
}

func request(method string, u *url.URL, headers []string, data string) (*http.Request, error) {
	var body io.Reader
	if data != "" {
		body = strings.NewReader(data)
	}
	if method == "" {
		method = http.MethodGet
		if data != "" {
			method = http.MethodPost
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", body)
	r.Method, r.URL, r.Host, r.RequestURI = strings.ToUpper(method), &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}, u.Host, u.RequestURI()
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	r.Header = http.Header{"Accept": {"text/html"}}
	if data != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: write name: value", h)
		}
		r.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return r, nil
}

// explain asks every gate that stands on the request's host.
func explain(w io.Writer, servers *caddyhttp.App, r *http.Request) error {
	found := gatesOf(servers, r.Host)
	if len(found) == 0 {
		return fmt.Errorf("no gate stands on %s: its requests reach the application without a second factor", r.Host)
	}
	fmt.Fprintf(w, "%s %s\n", r.Method, r.Host+r.URL.RequestURI())
	for _, h := range found {
		q := r.Clone(r.Context())
		if r.Body != nil {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body, q.Body = io.NopCloser(strings.NewReader(string(b))), io.NopCloser(strings.NewReader(string(b)))
		}
		original := *r.URL
		for _, s := range h.gate.Explain(q, gate.Input{Method: r.Method, URL: &original, FirstFactor: "somebody"}) {
			fmt.Fprintf(w, "  %-14s %s\n", s.Question, s.Answer)
		}
		if h.Mode == modeObserve {
			fmt.Fprintln(w, "  mode           observe: all of this is only logged, and the request passes")
		}
	}
	return nil
}

// gatesOf are the gates of all servers that stand on a host, those of its name
// before those of any.
func gatesOf(servers *caddyhttp.App, host string) []*Handler {
	name, _ := gate.Hostname(host)
	var exact, any []*Handler
	for _, s := range servers.Servers {
		for h, at := range places(s) {
			if h.settle(at) != nil {
				continue
			}
			hosts := at.hosts
			switch {
			case slices.Contains(hosts, name):
				exact = append(exact, h)
			case slices.ContainsFunc(hosts, func(p string) bool { return p == anyHost || gate.HostCovers(p, name) }):
				any = append(any, h)
			}
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return any
}
