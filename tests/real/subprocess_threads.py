# subprocess from many threads at once: output, input, status, time-outs, and os.fork with threads alive.
import os
import subprocess
import sys
import threading
import time

lock = threading.Lock()
passed = 0


def worker(index):
    global passed
    output = subprocess.run(["echo", f"from {index}"], capture_output=True, text=True, check=True)
    assert output.stdout == f"from {index}\n"
    back = subprocess.run(["cat"], input="x" * 200_000, capture_output=True, text=True, check=True)
    assert len(back.stdout) == 200_000
    assert subprocess.call(["sh", "-c", f"exit {index}"]) == index
    try:
        subprocess.run(["sleep", "100"], timeout=0.1)
    except subprocess.TimeoutExpired:
        with lock:
            passed += 1


threads = [threading.Thread(target=worker, args=(index,)) for index in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(passed, "workers passed")

stop = threading.Event()
ticking = threading.Thread(target=stop.wait)
ticking.start()
sys.stdout.flush()
child = os.fork()
if child == 0:
    inner = threading.Thread(target=time.sleep, args=(0.01,))
    inner.start()
    inner.join()
    os._exit(5)
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
ticking.join()
