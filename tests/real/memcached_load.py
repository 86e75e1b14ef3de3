# 20 clients of a memcached, whose port is the argument: values, counters, compare-and-set, multiple gets.
import socket
import sys
import threading

CLIENTS, ROUNDS = 20, 60


class Connection:
    def __init__(self):
        self.stream = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=100).makefile("rwb")

    def ask(self, command, value=None):
        self.stream.write(command.encode() + b"\r\n")
        if value is not None:
            self.stream.write(value + b"\r\n")
        self.stream.flush()
        return self.stream.readline().decode().strip()

    def values(self, command):
        found = []
        line = self.ask(command)
        while line != "END":
            found.append((line.split(), self.stream.read(int(line.split()[3]) + 2)[:-2]))
            line = self.stream.readline().decode().strip()
        return found


def client(index):
    connection = Connection()
    for round in range(ROUNDS):
        value = bytes([65 + index]) * (1 + 400 * round)
        assert connection.ask(f"set k{index} 0 0 {len(value)}", value) == "STORED"
        ((_, got),) = connection.values(f"get k{index}")
        assert got == value
        connection.ask("incr total 1")
        while True:
            ((words, list_),) = connection.values("gets list")
            list_ = str(int(list_) + index).encode()
            if connection.ask(f"cas list 0 0 {len(list_)} {words[4]}", list_) == "STORED":
                break
        passed[index] += 1


passed = [0] * CLIENTS
first = Connection()
print(first.ask("set total 0 0 1", b"0"), first.ask("set list 0 0 1", b"0"))
clients = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()
print(passed)
print(first.values("get total")[0][1], first.values("get list")[0][1])
keys = " ".join(f"k{index}" for index in range(CLIENTS))
print(sorted((words[1], len(value)) for words, value in first.values(f"get {keys} absent")))
print(first.ask("flush_all"), first.values("get total"))
