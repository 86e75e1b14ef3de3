# ssl in threads: an HTTPS server with a thread per connection, 12 clients that verify its certificate.
import http.client
import http.server
import os
import ssl
import subprocess
import sys
import tempfile
import threading

CLIENTS, ROUNDS = 12, 4


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 100

    def finish_request(self, request, client):
        # The handshake belongs to the connection's thread.
        with context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client)

    def handle_error(self, request, client):
        # The client that refuses the certificate may be gone before its thread hears of it.
        if not isinstance(sys.exc_info()[1], (ssl.SSLError, ConnectionError)):
            super().handle_error(request, client)


def client(index):
    trust = ssl.create_default_context(cafile=certificate)
    connection = http.client.HTTPSConnection("localhost", server.server_port, context=trust, timeout=100)
    for round in range(ROUNDS):
        body = bytes([index]) * (1 + 50_000 * round)
        connection.request("POST", "/", body)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == body
        results[index] += 1
    connection.close()


with tempfile.TemporaryDirectory() as directory:
    certificate = os.path.join(directory, "certificate.pem")
    key = os.path.join(directory, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    results = [0] * CLIENTS
    with Server(("127.0.0.1", 0), Echo) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        clients = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        stranger = http.client.HTTPSConnection("localhost", server.server_port, timeout=100)
        try:
            stranger.request("GET", "/")
        except ssl.SSLCertVerificationError as error:
            print(error.verify_message)
        stranger.close()
        # Its error is the server's to report, on standard error, with a port number.
        server.handle_error = lambda *_: None
        server.shutdown()
        serving.join()
    print(results)
    print(threading.active_count(), "thread left")
