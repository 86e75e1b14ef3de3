"""Runs CPython's own tests, with the arguments of `python3 -m test`, beside a thread that waits
for ever: every call of the tests is then one of a program with threads."""

import runpy
import sys
import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
sys.argv[0] = "test"
runpy.run_module("test", run_name="__main__", alter_sys=True)
