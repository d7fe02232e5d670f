package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes inputs that depend on its seed only. Nine of ten are forms in
// hostile spelling, made from what parsers are known to disagree on; the others
// are inputs of the corpus with some bytes changed. Half of all choices are the
// ordinary ones, because a request that every part of is odd is refused for the
// first, and the others are never looked at.
type generator struct {
	*rand.Rand
	corpus []input
}

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g generator, of ...T) T { return of[g.IntN(len(of))] }

// or gives the ordinary thing, or with some chance one of the others.
func or(g generator, ordinary string, percent int, others ...string) string {
	if g.chance(percent) {
		return pick(g, others...)
	}
	return ordinary
}

func (g generator) input() input {
	switch n := g.IntN(100); {
	case n < 12 && len(g.corpus) > 0:
		return g.mutated()
	case n < 45:
		return g.urlencoded()
	case n < 90:
		return g.multipart()
	}
	return g.json()
}

// name is one of the names that are watched, or one that some application folds
// to one of them.
func (g generator) name() string {
	plain := pick(g, watched...)
	if g.chance(60) {
		return plain
	}
	bare, inner, _ := strings.Cut(strings.TrimSuffix(plain, "]"), "[")
	if inner == "" {
		inner = "login"
	}
	return pick(g,
		" "+plain, plain+" ", "\t"+plain, "\n"+plain, plain+"\r\n", "."+plain, plain+".", plain+"\x00x", "\x00"+plain,
		bare+"[]", bare+"[0]", bare+"[ ]", bare+"["+inner+"]", bare+"["+inner+"]x", bare+"[ "+inner+"]", bare+"["+inner+" ]", bare+"["+inner+"][]",
		bare+"["+inner, bare+"["+inner+"]]", bare+"[["+inner+"]", bare+"[]["+inner+"]", bare+"x["+inner+"]", bare+"]", "["+bare+"]", bare+"."+inner, bare+"_"+inner,
		bare+" ["+inner+"]", bare+"["+inner+"\x00]", bare+"\x00["+inner+"]", bare+`["`+inner+`"]`, bare+"['"+inner+"']", bare+"%5B"+inner+"%5D",
		strings.ToUpper(plain), strings.ToUpper(plain[:1])+plain[1:], wide(plain), overlong(plain), "\ufeff"+plain, plain+"\u200b", plain+"\u0301", "\u017f"+plain[1:],
		plain+";", plain+"=", plain+"&", plain+`"`, plain+`\`, "'"+plain+"'", `"`+plain+`"`, plain+"*", "x", "", "filename", "name",
	)
}

// wide is a name in full-width letters.
func wide(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '!' && c <= '~' {
			return c - '!' + '！'
		}
		return c
	}, s)
}

// overlong writes the first letter as two bytes, which no decoder should take.
func overlong(s string) string { return string([]byte{0xc0 | s[0]>>6, 0x80 | s[0]&0x3f}) + s[1:] }

func (g generator) value() string {
	who := pick(g, "alice", "bob", "Alice-pw-1", "Bob-pw-2")
	if g.chance(65) {
		return who
	}
	field := pick(g, watched...)
	return pick(g, "", " "+who, who+" ", who+"\n", who+"\x00", "\x00", who+";"+field+"=mallory", who+"&"+field+"=mallory", who+"\r\n"+field+"=mallory",
		"ä"+who, "\xe4"+who, overlong(who), wide(who), "\ufeff"+who, "a+b", "a%20b", "%61lice", "=?utf-8?Q?bob?=", "&#97;lice", `"`+who+`"`, `\u0061lice`, "YWxpY2U=",
		"\r\n--b\r\nContent-Disposition: form-data; name=\""+field+"\"\r\n\r\nmallory", "x--b\r\nContent-Disposition: form-data; name=\""+field+"\"\r\n\r\nmallory\r\n", "--b--", "\r\n--b", "\r\n--bx\r\n")
}

// query is mostly empty.
func (g generator) query() string {
	if g.chance(70) {
		return ""
	}
	return strings.NewReplacer(" ", "%20", "\n", "%0A", "\r", "%0D", "\t", "%09", "\x00", "%00", "#", "%23").Replace(g.pairs(1 + g.IntN(2)))
}

func (g generator) pairs(n int) string {
	var b strings.Builder
	b.WriteString(or(g, "", 5, "&", "?", ";", "\ufeff", "\n"))
	for i := range n {
		if i > 0 {
			b.WriteString(or(g, "&", 15, ";", "&&", "&;", "; ", "& ", "\n", "&amp;", ","))
		}
		b.WriteString(g.escaped(g.name()))
		b.WriteString(or(g, "=", 8, "", "==", "=&", ":", "%3D", " = "))
		b.WriteString(g.escaped(g.value()))
	}
	b.WriteString(or(g, "", 8, "&", ";", "\r\n", "\x00", "%", "=", "&=x"))
	return b.String()
}

// escaped writes a text as a form's, with escapes where none need be and with
// bad ones.
func (g generator) escaped(s string) string {
	style := g.IntN(8)
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		ordinary := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
		switch {
		case style == 0 && g.chance(30), !ordinary && style < 6:
			fmt.Fprintf(&b, "%%%02x", c)
		case style == 1 && c == ' ':
			b.WriteByte('+')
		case style == 7 && g.chance(3):
			b.WriteString(pick(g, "%", "%u0061", "%zz", "%2", "%%61", "%+1", "%C0%A1", "+", "\\u0061"))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (g generator) urlencoded() input {
	kind := "application/x-www-form-urlencoded"
	return input{g.types(kind, ""), g.query(), g.pairs(1 + g.IntN(4))}
}

// types is the content type in some spelling; boundary is "" for a form that
// has none.
func (g generator) types(kind, boundary string) []string {
	media := or(g, kind, 15, strings.ToUpper(kind), kind+" ", kind+"x", kind+"-x", kind+"/x", kind+"+x", kind+",text/plain", kind+"; charset=utf-8", kind+";charset=iso-8859-1", kind+"; charset=utf-16", kind+"; charset=shift_jis",
		kind+"; charset=utf-7", kind+"; charset=ibm037", kind+";", kind+";;", " "+kind, "x"+kind, "text/plain, "+kind, `"`+kind+`"`, kind[:len(kind)-1], strings.Replace(kind, "/", " / ", 1), kind+" x", kind+"\t;x=y",
		"multipart/mixed", "multipart/related", "multipart/form-data", "multipart/x", "application/x-www-form-urlencoded", "application/json", "application/x-json", "text/json", "text/plain", "text/xml", "application/octet-stream", "")
	if boundary != "" {
		plain := boundary
		if strings.ContainsAny(plain, ` "'(),/:;<=>?@[\]`) {
			plain = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(plain) + `"`
		}
		media += or(g, "; boundary="+plain, 25,
			";boundary="+plain, "; boundary=\""+boundary+"\"", "; boundary='"+boundary+"'", "; Boundary="+plain, "; BOUNDARY="+plain, "; boundary = "+plain, "; boundary="+plain+" ", "; boundary="+plain+";", "; boundary="+plain+"; charset=utf-8",
			"; boundary="+plain+"; boundary=z", "; boundary=z; boundary="+plain, "; boundary="+plain+";boundary=\"z\"", "; xboundary=z; boundary="+plain, "; x=\"boundary=z\"; boundary="+plain, "; x=boundary=z; boundary="+plain,
			"; boundary*=utf-8''"+boundary, "; boundary*0="+plain+"; boundary*1=z", "; boundary*=utf-8''z; boundary="+plain, ", boundary="+plain, "; boundary="+plain+", text/plain", "; boundary="+plain+",z", "; boundary=\""+boundary, "; boundary="+boundary+"\\", "; boundary=\"\\"+boundary+"\"", "; boundary", "", "; boundary=", "\tboundary="+plain, " boundary="+plain)
	}
	switch n := g.IntN(100); {
	case n < 3:
		return nil
	case n < 6:
		return []string{media, pick(g, "text/plain", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "application/json")}
	case n < 8:
		return []string{pick(g, "text/plain", "", "application/x-www-form-urlencoded"), media}
	}
	return []string{media}
}

func (g generator) multipart() input {
	boundary := or(g, "b", 25, "b c", `b"c`, "b'c", "bb", "-b", "--b", "b--", "b;x", "b,x", "=b", "b=c", "b\\c", strings.Repeat("b", 70), strings.Repeat("b", 71), "b ", "B", "b:c", "----WebKitFormBoundary7MA4", "ä")
	line := or(g, "\r\n", 6, "\n", "\r", "\n\r", "\r\r\n")
	eol := func() string { return or(g, line, 3, "\n", "\r", "\r\n\r\n", "", " \r\n", "\r\n ", "\x00\r\n") }
	var b strings.Builder
	b.WriteString(or(g, "", 10, line, "preamble"+line, "--"+line, "x--"+boundary+line+"Content-Disposition: form-data; name=\"user\""+line+line+"mallory"+line, " "))
	for range 1 + g.IntN(4) {
		b.WriteString(or(g, "--"+boundary, 6, "--"+boundary+" ", "--"+boundary+"\t", "--"+boundary+"x", " --"+boundary, "-"+boundary, "--"+strings.ToUpper(boundary), "--z", "--"+boundary+"-", "--"+boundary+"--", "--"+boundary+line+"--"+boundary))
		b.WriteString(eol())
		b.WriteString(g.partHead(eol))
		b.WriteString(eol())
		b.WriteString(strings.ReplaceAll(g.value(), "--b", "--"+boundary))
		b.WriteString(eol())
	}
	b.WriteString(or(g, "--"+boundary+"--"+line, 15, "--"+boundary+"--", "--"+boundary, "--"+boundary+"-", "--"+boundary+" --", "--"+boundary+"-- ", "--"+boundary+"--x", "",
		"--"+boundary+"--"+line+"--"+boundary+line+"Content-Disposition: form-data; name=\""+pick(g, watched...)+"\""+line+line+"mallory"+line+"--"+boundary+"--"+line, "--"+boundary+"--"+line+"epilogue"))
	return input{g.types("multipart/form-data", boundary), g.query(), b.String()}
}

// partHead is the head of one part.
func (g generator) partHead(eol func() string) string {
	field := or(g, "Content-Disposition", 8, "content-disposition", "CONTENT-DISPOSITION", "Content-Disposition ", " Content-Disposition", "\tContent-Disposition", "Content_Disposition", "Content-Disposition\x00", "X-Content-Disposition", "Content-Type: text/plain; x=\r\n Content-Disposition", "Content-Disposition:x\r\nContent-Disposition")
	disposition := field + or(g, ": ", 5, ":", " : ", ":\t", ":\r\n ", ":: ") + or(g, "form-data", 8, "FORM-DATA", "form-data ", "file", "attachment", "inline", "form-data,", "form-data; x", `"form-data"`, "multipart/form-data", "", "form-data; x=\"y; name=z\"")
	params := []string{g.param("name", g.name())}
	if g.chance(8) {
		params = append(params, g.param(pick(g, "name", "name*", "name*0", "Name", "xname", "x-name", "user", "filename"), g.name()))
	}
	if g.chance(12) {
		params = append(params, pick(g, g.param("filename", pick(g, "", "x", `x"; name="user`, "a.txt", `a\`, `..\x`, "'")), "filename", "filename=", "filename*=utf-8''x", "xfilename=x", "filename =x", `file name="x"`, "Filename=\"x\"", "filename;"))
	}
	g.Shuffle(len(params), func(i, j int) { params[i], params[j] = params[j], params[i] })
	for _, p := range params {
		disposition += or(g, "; ", 10, ";", " ; ", ";;", ";\t", ";\r\n ", ";\n ", ", ", " ", ";\x00", "; x=y; ", "; x='; name=\"user\"; ") + p
	}
	head := disposition + or(g, "", 3, ";", " ", "; ", ";x", "\x00")
	more := func(s string) {
		if g.chance(50) {
			head += eol() + s
		} else {
			head = s + eol() + head
		}
	}
	if g.chance(10) {
		more(or(g, "Content-Type: text/plain", 50, "Content-Type: text/plain; charset=utf-16", "Content-Type: text/plain; charset=iso-8859-1", "Content-Type: text/plain; charset=utf-7", "Content-Type: multipart/mixed; boundary=z", "Content-Type: application/json", "Content-Type:", "Content-Type: application/octet-stream", "Content-Type: text/html; name=\"user\"", "content-type: text/plain;charset=\"utf-8\""))
	}
	if g.chance(5) {
		more("Content-Transfer-Encoding: " + pick(g, "base64", "quoted-printable", "7bit", "binary", "x-uuencode", "8bit\r\nContent-Transfer-Encoding: base64", " BASE64"))
	}
	if g.chance(4) {
		more(pick(g, "Content-Disposition: form-data; name=\"user\"", "X: y", ":", "x", "X: Content-Disposition: form-data; name=user", "Content-Length: 2", " continued", "\tname=\"user\"", "X:"+strings.Repeat("y", 9000)))
	}
	return head + eol()
}

// param is one parameter of a disposition.
func (g generator) param(key, name string) string {
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	if g.chance(70) {
		return key + "=" + quoted
	}
	return pick(g, key+"="+name, key+"='"+name+"'", key+`="`+name+`"`, key+" = "+quoted, key+"= "+quoted, key+" ="+quoted, strings.ToUpper(key)+"="+quoted, key+"*=utf-8''"+name, key+"*=utf-8'en'%75ser", key+"*=iso-8859-1''"+name, key+"*0="+quoted, key+"*0="+name[:len(name)/2]+"; "+key+"*1="+name[len(name)/2:],
		key+`="`+name, key+"="+name+`"`, key+"='"+name, key+`="\`+name+`"`, key+`="`+name+`\"`, key+`="`+name+`\"; x="`, key+`="`+name+`";x`, key+`="`+name+`"x`, key+`=x"`+name+`"`, key+`=""`+name+`""`, key+`="`+name+"\r\n\"", key+`="`+name+"\r\n \"", key+"="+name+" x", key+"=%75ser", key+`="%75ser"`, key+`="us%22er"`, key+`="&#117;ser"`, key+"==?utf-8?Q?user?=", key+`="=?utf-8?Q?user?="`, key, key+"=", key+`=""`)
}

func (g generator) json() input {
	str := func(s string) string {
		q := fmt.Sprintf("%q", strings.ToValidUTF8(s, "?"))
		q = strings.NewReplacer(`\x00`, `\u0000`, `\ufeff`, "\ufeff").Replace(q)
		if g.chance(5) {
			q = pick(g, s, "'"+s+"'", strings.ReplaceAll(q, "a", `\u0061`), strings.ReplaceAll(q, "a", "\xe4"), q+" "+q, `["`+s+`"]`, `{"a":"b"}`, "1", "null", "1e3", "1.0", "-0", "9007199254740993", "12345678901234567890", "true", "NaN", `"\ud800"`, "\"a\nb\"", "/**/"+q)
		}
		return q
	}
	var b strings.Builder
	b.WriteString(or(g, "{", 5, "\ufeff{", " {", "[{", "//x\n{", "{,", "\x00{", ")]}',\n{"))
	for i := range 1 + g.IntN(3) {
		if i > 0 {
			b.WriteString(or(g, ",", 4, ", ", ",,", ";", " ", "\n,"))
		}
		key := pick(g, "user", "password")
		if g.chance(20) {
			key = pick(g, "User", "USER", "user ", "user\x00", wide("user"), "u\u017fer", "password", "x", `us\u0065r`, "\ufeffuser", "user[]", "__proto__")
		}
		b.WriteString(str(key) + or(g, ":", 3, " : ", "=", "::") + str(g.value()))
	}
	b.WriteString(or(g, "}", 5, ",}", "}}", "} ", "}{\"user\":\"mallory\"}", "}\x00", "", "}x", "}\n#"))
	return input{g.types("application/json", ""), g.query(), b.String()}
}

// mutated is an input of the corpus with a few bytes changed.
func (g generator) mutated() input {
	in := pick(g, g.corpus...)
	in.types = append([]string(nil), in.types...)
	for range 1 + g.IntN(4) {
		switch n := g.IntN(10); {
		case n == 0:
			in.query = g.change(in.query)
		case n <= 2 && len(in.types) > 0:
			i := g.IntN(len(in.types))
			in.types[i] = g.change(in.types[i])
		default:
			in.body = g.change(in.body)
		}
	}
	return in
}

// change cuts, doubles, inserts or exchanges some bytes.
func (g generator) change(s string) string {
	at := g.IntN(len(s) + 1)
	end := min(len(s), at+1+g.IntN(8))
	insert := pick(g, "\r\n", "\n", "\r", "\x00", "\"", "'", "\\", ";", "&", "=", "%", "+", " ", "\t", "--", ":", "[", "]", ".", "*", ",", "\xff", "ä", "--b", "name=", "user", "password", "\r\n\r\n")
	switch g.IntN(4) {
	case 0:
		return s[:at] + s[end:]
	case 1:
		return s[:end] + s[at:]
	case 2:
		return s[:at] + insert + s[at:]
	}
	return s[:at] + insert + s[end:]
}
