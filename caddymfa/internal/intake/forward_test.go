package intake

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// forwarded is what an application gets of a request, "" and the error where it
// is refused.
func forwarded(r *http.Request, l Limits) (contentType, body string, _ *Form, err error) {
	f, err := Read(r, l)
	if err != nil {
		return "", "", nil, err
	}
	f.Forward(r)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "", "", nil, err
	}
	if r.ContentLength >= 0 && r.ContentLength != int64(len(b)) {
		return "", "", nil, fmt.Errorf("content length %d of %d", r.ContentLength, len(b))
	}
	return r.Header.Get("Content-Type"), string(b), f, r.Body.Close()
}

func TestAttack_K1_K2_FormsAreWrittenAnew(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for in, want := range map[string]string{
		"user=alice&password=a+b%20c": "user=alice&password=a+b%20c", // who signs what he sends signs the spelling
		"a=1;user=bob&b=2":            "a=1%3Buser%3Dbob&b=2",
		"a=b=c":                       "a=b%3Dc",
		"a&b=&=c":                     "a&b=&=c",
		"&&a=1&&":                     "a=1",
		"a=\"x\"\r\n&b=\xe4":          "a=%22x%22%0D%0A&b=%E4",
		"a=%e4%83\\":                  "a=%E4%83%5C", // Shift_JIS
		"user[login]=a&user%5Bx%5D=b": "user%5Blogin%5D=a&user%5Bx%5D=b",
		"a=1#b=2":                     "a=1%23b%3D2",
	} {
		kind, got, _, err := forwarded(request(form, "/", in), Limits{})
		if err != nil || got != want || kind != form {
			t.Errorf("%q: %q %s %v", in, got, kind, err)
		}
	}
}

func TestAttack_K2_ContentTypes(t *testing.T) {
	for kind, want := range map[string]string{
		"":                                  "application/octet-stream",
		" ":                                 "application/octet-stream",
		"Application/X-WWW-Form-Urlencoded": "application/x-www-form-urlencoded",
		"application/x-www-form-urlencoded; charset=UTF-8":      "application/x-www-form-urlencoded; charset=utf-8",
		"application/x-www-form-urlencoded; charset=iso-8859-1": "",
		"application/x-www-form-urlencoded; x=y":                "application/x-www-form-urlencoded",
		"application/json; charset=utf-8":                       "application/json; charset=utf-8",
		"text/xml; charset=utf-8":                               "text/xml; charset=utf-8",
		"application/x-www-form-urlencodedx":                    "",
		"application/x-www-form-urlencoded+x":                   "",
		"application/x-www-form-urlencoded, text/plain":         "",
		"text/plain, application/x-www-form-urlencoded":         "",
		"multipart/form-data-x; boundary=b":                     "",
		"x/form-data; boundary=b":                               "",
		"text/plain; x=\"application/x-www-form-urlencoded\"":   "",
		"application/x-www-form-urlencoded; charset=utf-7":      "",
		"application/x-www-form-urlencoded; charset=ibm037":     "",
	} {
		got, body, _, err := forwarded(request(kind, "/", "1"), Limits{})
		if want == "" {
			if err == nil {
				t.Errorf("%q passes as %q", kind, got)
			}
			continue
		}
		if err != nil || got != want || body != "1" {
			t.Errorf("%q: %q %q %v", kind, got, body, err)
		}
	}
	r := request("text/plain", "/", "1")
	r.Header["Content-Type"] = []string{"text/plain", "application/x-www-form-urlencoded"}
	if _, err := Read(r, Limits{}); err == nil {
		t.Error("two content types pass")
	}
}

// parts writes a multipart body behind the boundary b.
func parts(list ...string) string {
	var b strings.Builder
	for _, p := range list {
		b.WriteString("--b\r\n" + p + "\r\n")
	}
	return b.String() + "--b--\r\n"
}

func TestAttack_K1_MultipartIsWrittenAnew(t *testing.T) {
	const name = "Content-Disposition: form-data; name="
	for title, tc := range map[string]struct {
		body string
		want string // the parts, "" for refused
		user State
	}{
		"plain":         {parts(name + "\"user\"\r\n\r\nalice"), name + "\"user\"\r\n\r\nalice", Exact},
		"single quotes": {parts(name + "'user'\r\n\r\nbob"), "", Absent},
		"no quotes":     {parts(name + "user\r\n\r\nalice"), name + "\"user\"\r\n\r\nalice", Exact},
		"folded":        {parts("Content-Disposition: form-data;\r\n name=\"user\"\r\n\r\nalice"), name + "\"user\"\r\n\r\nalice", Exact},
		"line feeds":    {strings.ReplaceAll(parts(name+"\"user\"\r\n\r\nalice"), "\r\n", "\n"), name + "\"user\"\r\n\r\nalice", Exact},
		"two names":     {parts(name + "\"x\"; name=\"user\"\r\n\r\nbob"), "", Absent},
		"name*":         {parts(name + "\"x\"; name*=utf-8''user\r\n\r\nbob"), name + "\"user\"\r\n\r\nbob", Exact},
		"file":          {parts(name + "\"f\"; filename=\"a b.png\"\r\nContent-Type: image/png\r\nX-Y: z\r\n\r\n\x89PNG"), name + "\"f\"; filename=\"a b.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG", Absent},
		"file*":         {parts(name + "\"f\"; filename=x; filename*=utf-8''%e2%82%ac\r\n\r\n1"), name + "\"f\"; filename=\"€\"\r\n\r\n1", Absent},
		"file's name":   {parts(name + "\"f\"; filename=\"a\\\"; name=\\\"user\"\r\n\r\n1"), name + "\"f\"; filename=\"a%22; name=%22user\"\r\n\r\n1", Absent},
		"user as file":  {parts(name + "\"user\"; filename=\"\"\r\n\r\nbob"), name + "\"user\"; filename=\"\"\r\n\r\nbob", Ambiguous},
		"boundary":      {parts(name + "\"x\"\r\n\r\n a--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nbob"), name + "\"x\"\r\n\r\n a--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nbob", Absent},
		"before, after": {"--x\r\n" + name + "\"user\"\r\n\r\nbob\r\n" + parts(name+"\"a\"\r\n\r\n1") + name + "\"user\"\r\n\r\nbob", name + "\"a\"\r\n\r\n1", Absent},
		"encoded":       {parts(name + "\"user\"\r\nContent-Transfer-Encoding: base64\r\n\r\nYm9i"), "", Absent},
		"nested":        {parts(name + "\"x\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c"), "", Absent},
		"encoded word":  {parts(name + "\"=?utf-8?q?user?=\"\r\n\r\nbob"), "", Absent},
		"escapes":       {parts(name + "\"us%65r\"\r\n\r\nbob"), "", Absent},
		"backslash":     {parts(name + "\"us\\\\er\"\r\n\r\nbob"), "", Absent},
		"quote":         {parts(name + "\"x\\\"y\"\r\n\r\nbob"), "", Absent},
		"browser's":     {parts(name + "\"x%22y\"\r\n\r\n1"), name + "\"x%22y\"\r\n\r\n1", Absent},
		"brackets":      {parts(name+"\"user[login]\"\r\n\r\na", name+"\"user[]\"\r\n\r\nb"), name + "\"user[login]\"\r\n\r\na|" + name + "\"user[]\"\r\n\r\nb", Ambiguous},
		"none":          {parts("Content-Disposition: attachment; name=\"user\"\r\n\r\nbob"), "", Absent},
		"cut":           {"--b\r\n" + name + "\"user\"\r\n\r\nali", "", Absent},
	} {
		for _, limits := range []Limits{{}, {Memory: 16, Spool: &Spool{Size: 1 << 20}}} {
			kind, got, f, err := forwarded(request("multipart/form-data; boundary=b", "/", tc.body), limits)
			if tc.want == "" {
				if err == nil {
					t.Errorf("%s passes: %q", title, got)
				}
				continue
			}
			_, params, _ := mime.ParseMediaType(kind)
			mine := params["boundary"]
			want := ""
			for p := range strings.SplitSeq(tc.want, "|") {
				want += "--" + mine + "\r\n" + p + "\r\n"
			}
			want += "--" + mine + "--\r\n"
			if err != nil || got != want || mine == "b" {
				t.Errorf("%s: %v\n%q\n%q", title, err, got, want)
				continue
			}
			if _, state := f.Lookup(Any, "user"); state != tc.user && limits.Memory == 0 {
				t.Errorf("%s: %v", title, state)
			}
			if limits.Spool != nil && limits.Spool.Used() != 0 {
				t.Errorf("%s: %d bytes are still taken up", title, limits.Spool.Used())
			}
		}
	}
}

func TestSpoolIsBounded(t *testing.T) {
	spool := &Spool{Size: 5 << 20}
	long := func() *http.Request {
		return request("multipart/form-data; boundary=b", "/", parts("Content-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n"+strings.Repeat("x", 3<<20)))
	}
	one := long()
	f, err := Read(one, Limits{Spool: spool})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(long(), Limits{Spool: spool}); err == nil || err.(*Error).Status != http.StatusServiceUnavailable {
		t.Fatalf("the second: %v", err)
	}
	f.Forward(one)
	if n, err := io.Copy(io.Discard, one.Body); err != nil || n != one.ContentLength {
		t.Fatal(n, err)
	}
	f.Close()
	f.Close()
	if spool.Used() != 0 {
		t.Fatalf("%d bytes are still taken up", spool.Used())
	}
	if _, err := Read(long(), Limits{Spool: spool}); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	huge := request("multipart/form-data; boundary=b", "/", parts(strings.Repeat("x", 6<<20)))
	if _, err := Read(huge, Limits{Spool: spool}); err == nil || err.(*Error).Status != http.StatusRequestEntityTooLarge {
		t.Fatalf("more than there is: %v", err)
	}
}

func TestAttack_J4_K2_QueriesAreForwardedAsRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/x?a=1;user=bob", strings.NewReader("b=1"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f, err := Read(r, Limits{})
	if err != nil {
		return
	}
	if f.Forward(r); r.URL.RawQuery != "a=1%3Buser=bob" {
		t.Fatal(r.URL.RawQuery)
	}
}

func TestAttack_K10_JSONMeans(t *testing.T) {
	f, err := Read(request("application/json", "/", `{"User":{"login":"a","x":{"y":1}},"token":1}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"user": true, "user[login]": true, "user[password]": false, "login": false, "token": true, "user[x][y]": true} {
		if got := f.JSONMeans(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if got := Bracketed("user.x.y"); got != "user[x][y]" {
		t.Error(got)
	}
}
