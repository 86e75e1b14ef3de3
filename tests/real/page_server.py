# Serves page.html; the page's last picture comes when the page has fetched /done.
import http.server
import pathlib
import threading

HERE = pathlib.Path(__file__).parent
done = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, kind, body = 200, "text/plain", b""
        if self.path == "/":
            kind, body = "text/html", (HERE / "page.html").read_bytes()
        elif self.path == "/page_worker.js":
            kind, body = "text/javascript", (HERE / "page_worker.js").read_bytes()
        elif self.path == "/done":
            done.set()
        elif self.path == "/last.svg":
            done.wait()
            kind = "image/svg+xml"
            body = (b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
                    b'<rect width="20" height="20" fill="#f80"/></svg>')
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        # What a page must say to have memory shared between its threads.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("port", server.server_port, flush=True)
server.serve_forever()
