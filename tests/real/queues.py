# queue, threading's Condition, Semaphore, Barrier, Timer and RLock, selectors and asyncio beside threads.
import asyncio
import queue
import selectors
import socket
import threading
import time

jobs = queue.Queue(maxsize=5)
results = queue.SimpleQueue()


def worker():
    while (job := jobs.get()) is not None:
        results.put(job * 2)
        jobs.task_done()
    jobs.task_done()


workers = [threading.Thread(target=worker) for _ in range(6)]
for thread in workers:
    thread.start()
for number in range(300):
    jobs.put(number)
jobs.join()
for _ in workers:
    jobs.put(None)
for thread in workers:
    thread.join()
print(sum(results.get() for _ in range(300)))
try:
    results.get(timeout=0.05)
except queue.Empty:
    print("empty")

barrier = threading.Barrier(8)
order = []
semaphore = threading.Semaphore(2)


def meets(index):
    barrier.wait()
    with semaphore:
        order.append(index)


threads = [threading.Thread(target=meets, args=(index,)) for index in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(order))

fired = threading.Event()
threading.Timer(0.05, fired.set).start()
print(fired.wait(60))

left, right = socket.socketpair()
selector = selectors.DefaultSelector()
selector.register(left, selectors.EVENT_READ)
threading.Timer(0.05, right.sendall, args=(b"hello",)).start()
print(len(selector.select(60)), left.recv(10))


async def main():
    loop = asyncio.get_running_loop()
    slept = await asyncio.gather(
        *(loop.run_in_executor(None, time.sleep, 0.01) for _ in range(20)),
        *(asyncio.sleep(0.01, index) for index in range(5)),
    )
    print(slept[-5:])
    shell = await asyncio.create_subprocess_shell("echo out", stdout=asyncio.subprocess.PIPE)
    print((await shell.communicate())[0])


asyncio.run(main())
