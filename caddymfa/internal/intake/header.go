package intake

import (
	"net/http"
	"slices"
	"strings"
)

// StripOverrides takes away what makes an application see another method.
func StripOverrides(h http.Header) {
	for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		delete(h, name)
	}
}

// Strip takes away what no client may tell an application: what stands for a
// login by itself, also the credentials that the operator names; who the user
// is (attack D1); another address than the one that was decided on (attack C7).
// So goes every name that an application could take for one of these, because
// CGI and its heirs know letters, digits and '_' only (attack D2).
func Strip(h http.Header, credentials []string) {
	for name := range h {
		plain := hyphened(name)
		if told[plain] || slices.ContainsFunc(credentials, func(c string) bool { return strings.EqualFold(hyphened(c), plain) }) {
			delete(h, name)
		}
	}
}

// HasHeader reports whether a request has a field of this name, in a spelling
// that some application takes for it.
func HasHeader(h http.Header, name string) bool {
	want := hyphened(name)
	for have := range h {
		if strings.EqualFold(hyphened(have), want) {
			return true
		}
	}
	return false
}

// hyphened is a field name with every sign that is no letter and no digit as a
// hyphen, in the spelling of [http.CanonicalHeaderKey]. Ordinary names are it.
func hyphened(name string) string {
	if letters(name) {
		return name
	}
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if sign(c) {
			return '-'
		}
		return c
	}, name))
}

// letters reports whether a name has no other signs than letters, digits and
// hyphens. It is asked for every field of every request.
func letters(name string) bool {
	for i := range len(name) {
		if sign(rune(name[i])) {
			return false
		}
	}
	return true
}

func sign(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
}

// told are the names. Those that say who the user is are the ones that
// applications and identity proxies document; a site that hands the user on
// under another name overwrites the client's value by doing so.
var told = func() map[string]bool {
	m := map[string]bool{"Authorization": true, "Proxy-Authorization": true}
	for _, name := range slices.Concat(routing, identity) {
		m[name] = true
	}
	return m
}()

var routing = []string{
	"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "X-Original-Host", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Path",
	"X-Forwarded-Prefix", "X-Forwarded-Method", "X-Script-Name", "X-Forwarded-Server", "X-Host", "X-Http-Destinationurl",
}

var identity = []string{
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Remote-User", "X-Remote-Name", "X-Remote-Email", "X-Remote-Group", "X-Remote-Groups",
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
	"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Access-Token",
	"X-Auth-User", "X-Auth-Username", "X-Auth-Email", "X-Auth-Name", "X-Auth-Groups", "X-Authenticated-User", "X-Authenticated-Userid",
	"X-Webauth-User", "X-Webauth-Name", "X-Webauth-Email", "X-Webauth-Groups", "X-Authentik-Username", "X-Authentik-Email", "X-Authentik-Name",
	"X-Authentik-Groups", "X-Authentik-Uid", "X-Vouch-User", "X-Pomerium-Jwt-Assertion", "X-Goog-Authenticated-User-Email",
	"X-Goog-Authenticated-User-Id", "X-Goog-Iap-Jwt-Assertion", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Data", "X-Amzn-Oidc-Accesstoken",
	"X-Ms-Client-Principal", "X-Ms-Client-Principal-Name", "X-Ms-Client-Principal-Id", "Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion",
	"Tailscale-User-Login", "Tailscale-User-Name", "X-Sso-User", "X-Iisnode-Auth-User", "X-Iisnode-Logon-User",
	"Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-Client-Dn", "X-Client-Verify", "X-Forwarded-Client-Cert",
	"Ssl-Client-Cert", "Ssl-Client-S-Dn", "Ssl-Client-Verify", "X-Ssl-Client-Cert", "X-Ssl-Client-Dn", "X-Ssl-Client-S-Dn", "X-Ssl-Client-Verify",
	"X-Mfa-User", "X-Consumer-Username", "X-Consumer-Id", "X-Consumer-Custom-Id", "X-Credential-Username", "X-Credential-Identifier", "X-Webauth-Role",
	"Sm-User", "Sm-Universalid", "Iv-User", "Iv-Groups", "Iv-Creds", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "Impersonate-User", "Impersonate-Group",
	"X-Proxy-User", "X-Auth-Userid", "X-Id-Token", "X-Access-Token",
}
