package sms

import (
	"net"
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

var hostname = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)

// originLine is the last line of a text, which binds the code to a site so that
// phones offer it there and nowhere else: "@host #code", nothing before it
// (WICG "Origin-bound one-time codes delivered via SMS"). It is "" for a host
// without a name, because a code cannot be bound to an address, and for what is
// no host at all.
func originLine(host, code string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h // the line is about a site, which has no port
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(host, "."))
	if err != nil { // such as an underscore, which browsers accept all the same
		ascii = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	if !hostname.MatchString(ascii) {
		return ""
	}
	return "@" + ascii + " #" + code
}
