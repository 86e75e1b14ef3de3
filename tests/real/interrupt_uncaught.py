# Ctrl-C that nobody catches, with daemon threads alive: the process dies of SIGINT.
import threading
import time

for _ in range(5):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
try:
    print("ready", flush=True)
    time.sleep(1000)
finally:
    print("cleaned up", flush=True)
