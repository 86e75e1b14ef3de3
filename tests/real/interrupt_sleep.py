# Ctrl-C while the main thread sleeps and others wait, read and sleep.
import os
import threading
import time

reader, writer = os.pipe()
release = threading.Event()
threads = [
    threading.Thread(target=release.wait),
    threading.Thread(target=os.read, args=(reader, 1)),
    threading.Thread(target=time.sleep, args=(0.5,)),
]
for thread in threads:
    thread.start()
try:
    print("ready", flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    print("KeyboardInterrupt in", threading.current_thread().name)
release.set()
os.write(writer, b"x")
for thread in threads:
    thread.join()
print("all joined")
