# concurrent.futures' ThreadPoolExecutor: results, order, time-outs, exceptions, more tasks than threads.
import concurrent.futures
import threading
import time


def square(number):
    time.sleep(0.001)
    return number * number


with concurrent.futures.ThreadPoolExecutor(max_workers=20) as pool:
    print(sum(pool.map(square, range(500))))
    futures = {pool.submit(square, number): number for number in range(100)}
    done = {futures[f]: f.result() for f in concurrent.futures.as_completed(futures, timeout=60)}
    print(sorted(done.items())[-3:])
    event = threading.Event()
    waiting = pool.submit(event.wait)
    try:
        waiting.result(timeout=0.05)
    except concurrent.futures.TimeoutError:
        print("timed out")
    event.set()
    print(waiting.result())
    failing = pool.submit(int, "not a number")
    print(type(failing.exception()).__name__)

local = threading.local()


def uses_local(index):
    local.value = index
    time.sleep(0.001)
    return local.value == index


with concurrent.futures.ThreadPoolExecutor(max_workers=50) as pool:
    print(all(pool.map(uses_local, range(500))))
