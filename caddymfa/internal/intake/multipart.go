package intake

import (
	"crypto/rand"
	"errors"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// part is one part of a multipart body (RFC 7578) as it is written anew.
type part struct {
	head string
	size int64
}

// maxValue is up to which length a value of a multipart form is kept. A page of
// a wiki is longer than what a rule could ask for: it passes, and a rule that
// asks for it all the same finds it ambiguous.
const maxValue int64 = 64 << 10

// multipart reads the parts of the body.
func (f *Form) multipart(boundary string, memory int64, sum hash.Hash) error {
	if boundary == "" || len(boundary) > 70 { // RFC 2046 5.1.1
		return bad("multipart_boundary")
	}
	f.boundary = boundary
	m := multipart.NewReader(f.body, boundary)
	for kept := memory; ; {
		p, err := m.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return bad("multipart")
		}
		head, name, file, err := partHead(p.Header)
		if err != nil {
			return err
		}
		note(sum, head)
		x := field{source: Body, name: name, unread: file}
		most := min(maxValue, kept)
		if file {
			most = 0
		}
		var value strings.Builder
		n, err := io.Copy(io.MultiWriter(sum, &capped{&value, most}), p)
		if err != nil {
			return bad("multipart")
		}
		if n > most {
			x.unread = true
		} else {
			x.value = value.String()
			kept -= n
		}
		if err := f.add(x); err != nil {
			return err
		}
		f.parts = append(f.parts, part{head, n})
	}
}

// capped keeps the beginning of what is written to it.
type capped struct {
	b    *strings.Builder
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.left)
	c.b.Write(p[:n])
	c.left -= n
	return len(p), nil
}

// partHead reads the head of a part and writes it anew: the name, a file's name,
// and the type. Nothing else of it passes.
func partHead(h textproto.MIMEHeader) (head, name string, file bool, err error) {
	fail := func(reason string) (string, string, bool, error) { return "", "", false, bad(reason) }
	disposition := h["Content-Disposition"]
	if len(disposition) != 1 {
		return fail("multipart_disposition")
	}
	kind, params, err := mime.ParseMediaType(disposition[0])
	name, named := params["name"]
	switch {
	case err != nil || kind != "form-data" || !named || !partName(name):
		return fail("multipart_name")
	case !slices.Contains([]string{"", "7bit", "8bit", "binary"}, strings.ToLower(h.Get("Content-Transfer-Encoding"))):
		return fail("multipart_encoding")
	}
	var b strings.Builder
	b.WriteString(`Content-Disposition: form-data; name="` + name + `"`)
	filename, file := params["filename"]
	if file {
		if filename, err = fileName(filename); err != nil {
			return fail("multipart_filename")
		}
		b.WriteString(`; filename="` + filename + `"`)
	}
	if t := h.Get("Content-Type"); t != "" {
		media, params, err := mime.ParseMediaType(t)
		charset := strings.ToLower(params["charset"])
		if err != nil || strings.HasPrefix(media, "multipart/") || charset != "" && !charsets[charset] {
			return fail("multipart_type")
		}
		if charset != "" {
			media = mime.FormatMediaType(media, map[string]string{"charset": charset})
		}
		// A field is text where nothing is said (RFC 7578 4.4), and some parsers take
		// one that says so for a file.
		if file || !strings.HasPrefix(media, "text/plain") {
			b.WriteString("\r\nContent-Type: " + media)
		}
	}
	return b.String(), name, file, nil
}

// partName reports whether every parser reads a name in double quotes as it is
// written: printable letters without quotes, backslashes, what separates
// parameters, and what begins an escape or an encoded word (RFC 2047). Browsers
// escape quotes and line breaks (HTML 4.10.21.8).
func partName(name string) bool {
	plain := strings.NewReplacer("%22", "", "%0D", "", "%0A", "").Replace(name)
	return name != "" && len(name) <= 1024 && validText(name) && !strings.ContainsFunc(plain, func(c rune) bool {
		return !unicode.IsPrint(c) || strings.ContainsRune("\"'\\;=%&", c)
	})
}

// fileName writes the name of a file in the same way: it is only a name, so what
// parsers could trip over is escaped.
func fileName(name string) (string, error) {
	if len(name) > 4096 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return "", bad("multipart_filename")
	}
	return strings.NewReplacer(`"`, "%22", `\`, "%5C").Replace(name), nil
}

// rewrite puts the parts, written anew behind a boundary that nobody could know,
// in the place of the body. The values are read once more from where they lie.
func (f *Form) rewrite(r *http.Request) {
	w := &rewriter{stored: f.body, from: multipart.NewReader(f.body, f.boundary), parts: f.parts, mine: "caddymfa-" + rand.Text()}
	size := int64(len("--" + w.mine + "--\r\n"))
	for _, p := range f.parts {
		size += int64(len(w.head(p))) + p.size + int64(len("\r\n"))
	}
	r.Header["Content-Type"] = []string{"multipart/form-data; boundary=" + w.mine}
	setBody(r, w, size)
}

// rewriter reads a multipart body as it is written anew.
type rewriter struct {
	*stored
	from  *multipart.Reader
	parts []part
	mine  string
	cur   io.Reader
	ended bool
}

func (w *rewriter) head(p part) string { return "--" + w.mine + "\r\n" + p.head + "\r\n\r\n" }

func (w *rewriter) Read(b []byte) (int, error) {
	for {
		if w.cur != nil {
			n, err := w.cur.Read(b)
			if n > 0 || !errors.Is(err, io.EOF) {
				return n, err
			}
		}
		switch {
		case w.ended:
			return 0, io.EOF
		case len(w.parts) == 0:
			w.cur, w.ended = strings.NewReader("--"+w.mine+"--\r\n"), true
			continue
		}
		p, err := w.from.NextRawPart()
		if err != nil {
			return 0, err
		}
		w.cur = io.MultiReader(strings.NewReader(w.head(w.parts[0])), p, strings.NewReader("\r\n"))
		w.parts = w.parts[1:]
	}
}
