package differential

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/servers"
)

// parser is an application's reading of requests.
type parser struct {
	name string
	// start gives the function that asks the parser, and skips where it is missing.
	start func(tb testing.TB) ask
}

// ask gives what the parser finds in each of some requests. They are asked for
// together, because a process that waits for another costs more than a form.
type ask func([]input) ([]readings, error)

// each asks for one after the other.
func each(one func(input) (readings, error)) ask {
	return func(all []input) ([]readings, error) {
		list := make([]readings, len(all))
		for i, in := range all {
			var err error
			if list[i], err = one(in); err != nil {
				return nil, fmt.Errorf("%w\n%s", err, in)
			}
		}
		return list, nil
	}
}

var parsers = []parser{
	{"php", php},
	{"django", script("/usr/bin/python3", "python3-django", "import django", "python.py", "django")},
	{"werkzeug", script("/usr/bin/python3", "python3-werkzeug", "import werkzeug", "python.py", "werkzeug")},
	{"rack", script("ruby", "ruby-rack", "require 'rack'", "rack.rb")},
	{"multer", node("multer")},
	{"formidable", node("formidable")},
	{"go", func(testing.TB) ask { return each(goForms) }},
	{"cgi.pm", script("perl", "libcgi-pm-perl", "use CGI", "cgi.pl")},
	{"fileupload", java},
}

// reads reports whether the parser is for requests of this kind: FileUpload
// leaves all but multipart to the servlet container.
func (p parser) reads(in input) bool {
	kind, _ := in.contentType()
	return p.name != "fileupload" || strings.HasPrefix(kind, "multipart/")
}

// script is a parser in a language whose interpreter is asked by -c or -e
// whether it has the library.
func script(interpreter, packet, library, file string, args ...string) func(testing.TB) ask {
	return func(tb testing.TB) ask {
		tb.Helper()
		flag := "-e"
		if strings.Contains(interpreter, "python") {
			flag = "-c"
		}
		if err := exec.Command(interpreter, flag, library).Run(); err != nil {
			servers.Missing(tb, packet)
		}
		return child(tb, interpreter, append([]string{file}, args...)...)
	}
}

func node(which string) func(testing.TB) ask {
	return func(tb testing.TB) ask {
		tb.Helper()
		servers.NPM(tb, "differential", "formidable")
		return child(tb, "node", "node.mjs", which)
	}
}

// java runs FileUpload.java from its source, which needs a compiler.
func java(tb testing.TB) ask {
	tb.Helper()
	const jars = "/usr/share/java/commons-fileupload.jar:/usr/share/java/commons-io.jar:/usr/share/java/servlet-api.jar"
	for jar := range strings.SplitSeq(jars, ":") {
		if _, err := os.Stat(jar); err != nil {
			servers.Missing(tb, jar+" (apt-get install libcommons-fileupload-java libservlet-api-java)")
		}
	}
	if _, err := exec.LookPath("javac"); err != nil {
		servers.Missing(tb, "javac (apt-get install default-jdk-headless)")
	}
	return child(tb, "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jars, "FileUpload.java")
}

// child starts a parser of test/differential. It is given content type, query
// and body, each after its length (-1 for no content type), and answers with
// JSON after its length: the readings, their values in hexadecimal.
func child(tb testing.TB, command string, args ...string) ask {
	tb.Helper()
	cmd := exec.Command(command, append(args, watched...)...)
	cmd.Dir = filepath.Join(servers.Root(tb), "test", "differential")
	complaints := &bytes.Buffer{}
	cmd.Stderr = complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close() // it ends when there is nothing to read
		_ = cmd.Wait()
	})
	buffered := bufio.NewReader(out)
	answer := func() (readings, error) {
		var size [4]byte
		if _, err := io.ReadFull(buffered, size[:]); err != nil {
			return nil, fmt.Errorf("%s ended: %w: %s", command, err, complaints)
		}
		text := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(buffered, text); err != nil {
			return nil, err
		}
		return decode(text)
	}
	return func(all []input) ([]readings, error) {
		var b []byte
		for _, i := range all {
			kind, has := i.contentType()
			length := int32(len(kind)) //nolint:gosec // short
			if !has {
				length = -1
			}
			for _, n := range []int32{length, int32(len(i.query)), int32(len(i.body))} { //nolint:gosec // short
				b = binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // -1 is meant
			}
			b = append(append(append(b, kind...), i.query...), i.body...)
		}
		go func() { _, _ = in.Write(b) }() // while the answers are read: a pipe does not hold them all
		list := make([]readings, len(all))
		for i := range all {
			var err error
			if list[i], err = answer(); err != nil {
				return nil, fmt.Errorf("%w\n%s", err, all[i])
			}
		}
		return list, nil
	}
}

// contentType is the field as CGI and its heirs give it: several are joined.
func (in input) contentType() (string, bool) {
	return strings.Join(in.types, ", "), len(in.types) > 0
}

func decode(text []byte) (readings, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%w: %.300q", err, text)
	}
	delete(all, "error") // a parser that refuses finds nothing
	found := readings{}
	for source, part := range all {
		var names map[string][]string
		if err := json.Unmarshal(part, &names); err != nil {
			return nil, fmt.Errorf("%w: %.300q", err, text)
		}
		for _, list := range names {
			for i, v := range list {
				plain, err := hex.DecodeString(v)
				if err != nil {
					return nil, err
				}
				list[i] = string(plain)
			}
		}
		found[source] = names
	}
	return found, nil
}

// goForms is net/http itself.
func goForms(in input) (readings, error) {
	found := readings{"query": {}, "body": {}, "both": {}, "json": {}}
	r, _ := in.request()
	query := r.URL.Query()
	_ = r.ParseMultipartForm(1 << 20) // what was read before an error is there all the same
	for _, name := range watched {
		found["query"][name] = query[name]
		found["body"][name] = r.PostForm[name]
		found["both"][name] = r.Form[name]
		if r.MultipartForm != nil {
			found["body"][name] = append(found["body"][name], r.MultipartForm.Value[name]...)
		}
	}
	kind, _ := in.contentType()
	if media, _, err := mime.ParseMediaType(kind); err == nil && media == "application/json" {
		var object struct{ User, Password string }
		if err := json.Unmarshal([]byte(in.body), &object); err == nil {
			for name, v := range map[string]string{"user": object.User, "password": object.Password} {
				if v != "" {
					found["json"][name] = []string{v}
				}
			}
		}
	}
	return found, nil
}

// php runs php-cgi and speaks FastCGI with it: its forms are read as everywhere
// behind nginx or Caddy. It has a few processes, because one answers a request
// before it takes another.
func php(tb testing.TB) ask {
	tb.Helper()
	command, err := exec.LookPath("php-cgi")
	if err != nil {
		servers.Missing(tb, "php-cgi (apt-get install php8.2-cgi)")
	}
	page := filepath.Join(servers.Root(tb), "test", "differential", "php.php")
	var sockets [4]string
	for i := range sockets {
		sockets[i] = phpProcess(tb, command)
	}
	var conns [len(sockets)]net.Conn
	return func(all []input) ([]readings, error) {
		list, errs := make([]readings, len(all)), make([]error, len(sockets))
		var wg sync.WaitGroup
		for n := range sockets {
			wg.Go(func() {
				if conns[n] == nil { // not before: it gives up who says nothing for five seconds
					if conns[n], errs[n] = dialPHP(sockets[n]); errs[n] != nil {
						return
					}
				}
				for i := n; i < len(all) && errs[n] == nil; i += len(sockets) {
					list[i], errs[n] = phpForms(conns[n], page, all[i])
				}
			})
		}
		wg.Wait()
		return list, errors.Join(errs...)
	}
}

func phpForms(conn net.Conn, page string, in input) (readings, error) {
	params := []string{
		"SCRIPT_FILENAME", page, "REDIRECT_STATUS", "200", "REQUEST_METHOD", http.MethodPost, "WATCHED", strings.Join(watched, " "),
		"QUERY_STRING", in.query, "CONTENT_LENGTH", fmt.Sprint(len(in.body)), "SERVER_PROTOCOL", "HTTP/1.1", "REQUEST_URI", "/?" + in.query,
	}
	if kind, has := in.contentType(); has {
		params = append(params, "CONTENT_TYPE", kind)
	}
	answer, err := fastCGI(conn, params, in.body)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, in)
	}
	_, text, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	return decode(text)
}

// dialPHP connects to a php-cgi. Its socket is there a moment before it listens.
func dialPHP(socket string) (conn net.Conn, err error) {
	for range 100 {
		if conn, err = net.Dial("unix", socket); err == nil {
			return conn, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, err
}

// phpProcess starts a php-cgi that ends with the test, and gives its socket.
func phpProcess(tb testing.TB, command string) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "caddymfa-php-") // a socket's path must be short
	if err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	cmd := exec.Command(command, "-b", socket, "-d", "display_errors=0", "-d", "log_errors=0", "-d", "upload_tmp_dir="+dir)
	cmd.Env = append(os.Environ(), "PHP_FCGI_MAX_REQUESTS=0")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatal("php-cgi does not listen")
	return ""
}

// fastCGI sends one request and reads its answer; the connection stays open.
func fastCGI(conn io.ReadWriter, params []string, body string) ([]byte, error) {
	const begin, end, paramsType, stdin, stdout, keepConn = 1, 3, 4, 5, 6, 1
	var b []byte
	record := func(kind byte, content string) {
		for first := true; first || content != ""; first = false {
			part := content[:min(len(content), 32<<10)]
			content = content[len(part):]
			b = append(b, 1, kind, 0, 1, byte(len(part)>>8), byte(len(part)), 0, 0)
			b = append(b, part...)
		}
	}
	record(begin, "\x00\x01"+string(rune(keepConn))+"\x00\x00\x00\x00\x00")
	var p []byte
	for i := 0; i < len(params); i += 2 {
		for _, s := range params[i : i+2] {
			p = binary.BigEndian.AppendUint32(p, uint32(len(s))|1<<31) //nolint:gosec // short
		}
		p = append(append(p, params[i]...), params[i+1]...)
	}
	record(paramsType, string(p))
	record(paramsType, "")
	if body != "" {
		record(stdin, body)
	}
	record(stdin, "")
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	var answer []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return nil, errors.Join(errors.New("php-cgi ended"), err)
		}
		content := make([]byte, int(head[4])<<8+int(head[5])+int(head[6]))
		if _, err := io.ReadFull(conn, content); err != nil {
			return nil, err
		}
		switch head[1] {
		case stdout:
			answer = append(answer, content[:len(content)-int(head[6])]...)
		case end:
			return answer, nil
		}
	}
}
