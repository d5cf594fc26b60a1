"""Programs that take more processor time than they have, in processes that each keep to theirs."""

from __future__ import annotations

from dataclasses import replace

from tests.execution.conftest import TIGHT

TIMEOUT_S = 100.0
SECOND = replace(TIGHT, cpu_share=0.01)
"""One second of processor time within :data:`TIMEOUT_S`."""

_SPIN = """\
import os, signal, time
def spin():
    os.setsid()
    while time.process_time() < 0.6: pass
    os._exit(0)
"""
_AFTER = "print('nobody ended it')\n"

END_OF_FIRST_THREAD = """\
import ctypes, os
def end_first_thread():
    ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)
"""
"""Defines what ends the calling thread alone; a process without its first looks like a dead one."""

SPINNERS = {
    "many at once": (
        f"{_SPIN}for _ in range(6):\n    if os.fork() == 0: spin()\n"
        f"for _ in range(6): os.wait()\n{_AFTER}"
    ),
    "one after the other": (
        f"{_SPIN}for _ in range(6):\n    if os.fork() == 0: spin()\n    os.wait()\n{_AFTER}"
    ),
    "one after the other, waited for by nobody": (
        f"{_SPIN}signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "for _ in range(6):\n    if os.fork() == 0: spin()\n"
        f"    try: os.wait()\n    except ChildProcessError: pass\n{_AFTER}"
    ),
    "one after the other, detached": (
        f"{_SPIN}for _ in range(6):\n    read, write = os.pipe()\n    if os.fork() == 0:\n"
        "        if os.fork(): os._exit(0)\n        spin()\n"
        f"    os.close(write); os.wait(); os.read(read, 1)\n{_AFTER}"
    ),
    "threads whose first one has ended": (
        f"{_SPIN}{END_OF_FIRST_THREAD}import threading\n"
        "for _ in range(6):\n    if os.fork() == 0:\n"
        "        threading.Thread(target=spin).start()\n        end_first_thread()\n"
        f"    os.wait()\n{_AFTER}"
    ),
}
"""Without a bound on their sum, each says so, and runs to its end."""
