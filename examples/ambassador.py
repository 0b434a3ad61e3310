#!/usr/bin/env python3
"""A source ambassador in Python's standard library: serves the files of a folder. examples/ambassador.py /media 8080

It does the least that docs/contract.md asks of a source, with names by its recipe; `contract-check` finds nothing broken.
"""
import base64, hashlib, http.server, json, os, pathlib, re, sys, time, urllib.parse

ROOT, QUIET = pathlib.Path(sys.argv[1]).absolute(), 2  # a file is finished when nobody wrote to it for so many seconds

def item_name(key, version):
    slug = re.sub(rb"[^A-Za-z0-9]+", b"-", key).lstrip(b"-").lower()[:38].rstrip(b"-").decode() or "item"
    parts = b"".join(len(part).to_bytes(8, "big") + part for part in (b"", key, version))
    digest = hashlib.sha256(b"longshore item name v1" + parts).digest()[:8]
    return f"{slug}-{base64.b32encode(digest).decode().rstrip('=').lower()}"

def items():  # an entry's is_file() hides no error, as a Path's does on newer Pythons
    for entry in sorted((e for e in os.scandir(ROOT) if e.name[0] != "." and e.is_file()), key=lambda e: e.name):
        stat, key, uri = entry.stat(), os.fsencode(entry.name), pathlib.Path(entry).as_uri()
        etag, written = f"{stat.st_size}-{stat.st_mtime_ns}", time.gmtime(stat.st_mtime)
        if time.time() - stat.st_mtime >= QUIET:
            yield item_name(key, etag.encode()), {
                "uri": uri, "key": urllib.parse.quote(key), "keyEncoding": "percent", "size": stat.st_size,
                "etag": etag, "lastModified": time.strftime("%Y-%m-%dT%H:%M:%SZ", written)}

class Ambassador(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urllib.parse.unquote(self.path.partition("?")[0]).rstrip("/")
        try:
            known, name = dict(items()), path.removeprefix("/v1/items/")
            item = {"kind": "Item", "apiVersion": "v1", "metadata": {"name": name}, "data": known.get(name)}
            listed = {"kind": "ItemList", "apiVersion": "v1", "metadata": {"complete": True}, "items": list(known)}
            code, body = (200, listed) if path == "/v1/items" else (200 if name in known else 404, item)
        except OSError as error:  # what cannot be seen is not nothing
            code, body = 503, {"message": f"the folder cannot be read: {error.strerror}"}
        body = json.dumps(body).encode()
        self.send_response(code)
        for header in [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Retry-After", "1")]:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)
    do_HEAD = do_GET

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Ambassador).serve_forever()
