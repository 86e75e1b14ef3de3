# multiprocessing with each start method, and concurrent.futures' process pool, beside live threads.
import concurrent.futures
import multiprocessing
import os
import threading


def square(number):
    return number * number


def in_threads(number):
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append(number + n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def fill(queue, lock, counter, number):
    for _ in range(50):
        with lock:
            counter.value += 1
    queue.put((number, os.getpid() != os.getppid()))


def fails():
    raise SystemExit(7)


def main():
    stop = threading.Event()
    beside = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in beside:
        thread.start()
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            print(method, sum(pool.map(square, range(100), chunksize=5)))
            print(method, pool.map(in_threads, range(3)))
            print(method, sorted(pool.imap_unordered(square, range(5))))
            pool.close()
            pool.join()
        queue, lock, counter = context.Queue(), context.Lock(), context.Value("i", 0, lock=False)
        children = [
            context.Process(target=fill, args=(queue, lock, counter, number)) for number in range(4)
        ]
        for child in children:
            child.start()
        print(method, sorted(queue.get(timeout=60) for _ in children))
        for child in children:
            child.join()
        print(method, counter.value, [child.exitcode for child in children])
        failing = context.Process(target=fails)
        failing.start()
        failing.join()
        killed = context.Process(target=stop_here)
        killed.start()
        killed.terminate()
        killed.join()
        print(method, failing.exitcode, killed.exitcode)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            print(method, sum(pool.map(square, range(50))), pool.submit(in_threads, 9).result())
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        workers = [
            threading.Thread(target=lambda n=n: shared.update({n: square(n)})) for n in range(5)
        ]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
        print(sorted(shared.items()))
    stop.set()
    for thread in beside:
        thread.join()
    print(threading.active_count(), "thread left,", len(multiprocessing.active_children()), "children")


def stop_here():
    threading.Event().wait()


if __name__ == "__main__":
    main()
