# Ctrl-C while the main thread is in join: KeyboardInterrupt is raised there, and the thread goes on.
import threading

release = threading.Event()


def work():
    release.wait()
    print("the thread went on")


thread = threading.Thread(target=work)
thread.start()
try:
    print("ready", flush=True)
    thread.join()
except KeyboardInterrupt:
    print("KeyboardInterrupt in", threading.current_thread().name)
release.set()
thread.join()
