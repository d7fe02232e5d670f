"""Says what Django's or Werkzeug's request holds: python.py django|werkzeug NAME..."""
import io
import json
import re
import struct
import sys

which, names = sys.argv[1], sys.argv[2:]
if which == "django":
    import django
    from django.conf import settings

    settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
    django.setup()
    from django.core.handlers.wsgi import WSGIRequest
else:
    from werkzeug.wrappers import Request


def sources(environ):
    if which == "django":
        r = WSGIRequest(environ)
        return {"query": lambda: r.GET, "body": lambda: r.POST}
    r = Request(environ)
    return {"query": lambda: r.args, "body": lambda: r.form, "both": lambda: r.values}


def answer(kind, query, body):
    environ = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/", "SERVER_NAME": "x", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "QUERY_STRING": query.decode("latin-1"), "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http", "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }
    if kind is not None:
        environ["CONTENT_TYPE"] = kind.decode("latin-1")
    out = {}
    for source, read in sources(environ).items():
        try:
            values = read()
        except Exception as e:  # an application may read the other one
            out["error"] = f"{source}: {type(e).__name__}: {e}"
            continue
        for name in names:
            found = values.getlist(name)
            if found:
                out.setdefault(source, {})[name] = [v.encode("utf-8", "surrogatepass").hex() for v in found]
    if kind is not None and re.match(rb"application/([\w.-]+\+)?json\s*(;|$)", kind, re.I):
        read = json.loads(body)
        for name in names:
            if isinstance(read, dict) and type(read.get(name)) in (str, int, float):
                out.setdefault("json", {})[name] = [str(read[name]).encode("utf-8", "surrogatepass").hex()]
    return out


stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
while True:
    head = stdin.read(12)
    if len(head) < 12:
        break
    sizes = struct.unpack(">iii", head)
    kind, query, body = (None if n < 0 else stdin.read(n) for n in sizes)
    try:
        out = answer(kind, query, body)
    except Exception as e:  # a parser that refuses finds nothing
        out = {"error": type(e).__name__ + ": " + str(e)}
    text = json.dumps(out).encode()
    stdout.write(struct.pack(">i", len(text)) + text)
    stdout.flush()
