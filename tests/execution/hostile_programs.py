"""Programs that a model may write, with how each must end: what it tries must not work."""

from __future__ import annotations

from dataclasses import dataclass

HONEST = "print('hello')"


@dataclass(frozen=True)
class Program:
    """How a text ends: one of the reasons that "or" parts; ``says`` is in its output's tail."""

    text: str
    exit_code: int = 0
    reason: str = "exit"
    token_seen: bool = False
    says: str = ""


ENDS: dict[str, Program] = {
    "runs to its end": Program("print('hello')", token_seen=True, says="hello\n"),
    "is empty": Program("", token_seen=True),
    "fails a test": Program("assert 1 == 2", 1, says="AssertionError"),
    "is no Python": Program("def f(:", 1, says="SyntaxError"),
    "holds a NUL": Program("x = 1\0", 1, says="null bytes"),
    "calls sys.exit(0)": Program("import sys; sys.exit(0)"),
    "calls exit()": Program("exit()"),
    "raises SystemExit": Program("raise SystemExit"),
    "calls os._exit(0)": Program("import os; os._exit(0)"),
    "exits with 3": Program("import sys; sys.exit(3)", 3),
    "exits with words": Program("raise SystemExit('bye')", 1, says="bye"),
    "exits in a function called at exit": Program(
        "import atexit, os; atexit.register(os._exit, 0); 1/0"
    ),
    "exits from a thread": Program(
        "import os, threading\n"
        "threading.Thread(target=os._exit, args=(0,)).start()\n"
        "while True: pass"
    ),
    "replaces itself": Program("import os; os.execvp('true', ['true'])"),
    "is ended by its own signal": Program(
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11
    ),
    "goes on in a forked child": Program(
        "import os\nif os.fork(): os._exit(0)\nimport time; time.sleep(0.2)"
    ),
    "closes all its descriptors": Program("import os; os.closerange(0, 100)"),
    "replaces print, write and exit": Program(
        "import builtins, os, sys\n"
        "builtins.print = os.write = os.read = sys.exit = lambda *a: 0\n"
        "builtins.OSError = builtins.compile = builtins.exec = None\n"
        "globals().clear()",
        token_seen=True,
    ),
    "leaves non-daemon work that fails": Program(
        "import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()",
        token_seen=True,
        says="ZeroDivisionError",
    ),
    "fails after its end": Program(
        "import atexit, os; atexit.register(lambda: os._exit(7))", 7, token_seen=True
    ),
    "writes on every descriptor": Program(
        "import os\n"
        "for fd in range(3, 50):\n"
        "    try: os.write(fd, b'0' * 32)\n"
        "    except OSError: pass\n"
        "os._exit(0)"
    ),
    "recurses without end": Program("def f(): f()\nf()", 1, says="RecursionError"),
    "opens too many files": Program(
        "a = [open('/dev/null') for _ in range(100)]", 1, says="Errno 24"
    ),
    "writes too large a file": Program(
        "f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20))", 1, says="File too large"
    ),
    "asks for too much memory": Program(
        "x = bytearray(5 << 30)", 1, "out-of-memory", says="MemoryError"
    ),
    "talks without end, then ends": Program(
        "for _ in range(300): print('x' * 100000)\nprint('done')", token_seen=True, says="done\n"
    ),
}
"""Ends that come by themselves."""

SEES = {
    "its module": (
        "import sys; print(__name__, sys.argv, '__file__' in globals(), sys.path[0] == '')",
        "__main__ ['-c'] False True\n",
    ),
    "no secret in its text, arguments or environment": (
        "import os, re, sys\n"
        "places = [repr(sys.argv), repr(sys.orig_argv), repr(dict(os.environ))]\n"
        "for name in ('cmdline', 'environ'):\n"
        "    for pid in ('self', os.getppid()):\n"
        "        try: places.append(repr(open(f'/proc/{pid}/{name}', 'rb').read()))\n"
        "        except OSError as error: places.append(type(error).__name__)\n"
        "frame = sys._getframe()\n"
        "while frame: places.append(repr(frame.f_locals)[:100000]); frame = frame.f_back\n"
        "own = os.environ.get('PTB_COMMAND', ''), os.environ.get('PTB_SESSION', '')\n"
        "print([len(p) for p in re.findall('[0-9a-f]{32}', ' '.join(places))])",
        "[]\n",
    ),
    "no memory of its launcher": (
        "import os\n"
        "try: open(f'/proc/{os.getppid()}/mem', 'rb')\n"
        "except OSError as error: print(type(error).__name__)",
        "PermissionError\n",
    ),
    "no descriptors of its launcher": (
        "import os\n"
        "try: open(f'/proc/{os.getppid()}/fd/1', 'wb')\n"
        "except OSError as error: print(type(error).__name__)",
        "PermissionError\n",
    ),
    "an empty folder, an empty home and no input": (
        "import os, sys\n"
        "print(os.listdir('.'), os.listdir(os.environ['HOME']), repr(sys.stdin.read()))",
        "[] [] ''\n",
    ),
    "no network": (
        "import socket\n"
        "try: socket.create_connection(('192.0.2.1', 80), timeout=5)\n"
        "except OSError as error: print(error.errno)",
        "101\n",
    ),
    "few processes": (
        "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 8)",
        "True\n",
    ),
    "sets in one order": ("print(list({'a', 'b', 'c', 'd'}))", None),
}
"""Programs that print what they see in a sandbox, with what that must be."""

BOMBS: dict[str, Program] = {
    "loops": Program("while True: pass", -9, "timeout"),
    "sleeps and ignores every signal": Program(
        "import signal, time\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "time.sleep(1000)",
        -9,
        "timeout",
    ),
    "waits for a child that never ends": Program(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'while True: pass'], start_new_session=True)",
        -9,
        "timeout",
    ),
    "never stops talking": Program("while True: print('x' * 100000)", -9, "timeout", says="xxx"),
    "ends and leaves a thread": Program(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
        -9,
        "timeout",
        token_seen=True,
    ),
    "kills its parent": Program(
        "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(1000)",
        -9,
        "killed",
    ),
    "kills all it can": Program(
        "import os, signal, time\nos.kill(-1, signal.SIGKILL); time.sleep(1000)",
        -9,
        "killed or timeout",
    ),
    "forks without end": Program("import os\nwhile True: os.fork()", -9, "killed"),
    "starts threads without end": Program(
        "import threading, time\n"
        "while True: threading.Thread(target=time.sleep, args=(1000,)).start()",
        -9,
        "killed",
    ),
    "fills the memory with children": Program(
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0: break\n"
        "x = bytearray(b'1') * (200 << 20)\n"
        "time.sleep(1000)",
        -9,
        "out-of-memory",
    ),
    "fills the shared memory": Program(
        "for i in range(10000): open(f'/dev/shm/{i}', 'wb').write(bytes(10 << 20))",
        -9,
        "out-of-memory",
    ),
    "fills the disk": Program(
        "import time\n"
        "for i in range(20): open(str(i), 'wb').write(b'1' * (10 << 20))\n"
        "time.sleep(1000)",
        -9,
        "killed",
    ),
}
"""Programs that somebody must end."""
