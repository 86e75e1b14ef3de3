# Echoes behind a TLS proxy: argument 1 is the port of the echo server, 2 that of the proxy.
import socket
import ssl
import sys
import threading

CLIENTS, CONNECTIONS, ROUNDS = 15, 3, 10


def echo(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def exactly(connection, length):
    parts = []
    while length and (part := connection.recv(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def client(index):
    for _ in range(CONNECTIONS):
        plain = socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=100)
        with context.wrap_socket(plain) as connection:
            for round in range(ROUNDS):
                message = bytes([index]) * (1 + 3000 * round)
                connection.sendall(message)
                answers[index] += exactly(connection, len(message)) == message


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=200)
threading.Thread(target=serve, args=(listener,), daemon=True).start()
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
answers = [0] * CLIENTS
clients = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()
print(answers)
