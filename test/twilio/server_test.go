package twiliotest

import (
	"net"
	"strings"
	"testing"
)

func TestServerStartsEmptyAndEndsWithTheTest(t *testing.T) {
	var s *Server
	t.Run("running", func(t *testing.T) {
		s = Start(t)
		if got := s.Messages(""); len(got) != 0 {
			t.Errorf("a new server has %d messages", len(got))
		}
		if got := s.LastCode("+12015550123"); got != "" {
			t.Errorf("a new server has the code %q", got)
		}
	})
	if s == nil {
		t.Skip("the stand-in is missing")
	}
	for _, url := range []string{s.URL, s.list} {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			_ = c.Close()
			t.Errorf("%s still answers after the test that started it", url)
		}
	}
}
