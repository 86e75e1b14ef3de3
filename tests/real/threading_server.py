# socketserver.ThreadingTCPServer with 40 concurrent clients, each in a thread.
import socket
import socketserver
import threading


class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 100


def client(address, index, results):
    with socket.create_connection(address, timeout=60) as connection:
        stream = connection.makefile("rw")
        for round in range(20):
            stream.write(f"client {index} round {round}\n")
            stream.flush()
            answer = stream.readline()
            assert answer == f"CLIENT {index} ROUND {round}\n", answer
            results[index] += 1


results = [0] * 40
with Server(("127.0.0.1", 0), Upper) as server:
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    clients = [
        threading.Thread(target=client, args=(server.server_address, index, results))
        for index in range(40)
    ]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    server.shutdown()
    serving.join()
print(sum(results), "answers")
print(threading.active_count(), "thread left")
