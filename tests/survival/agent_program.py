"""The agent of a round: ``agent.py finish WORK_S`` or ``agent.py endless``.

It notes its start with a nonce, leaves a detached child that writes heartbeats for ever, and
writes ``final_model/`` from the base model: the same tensors under a version in the header, so
that every version is a checkpoint of its own. ``finish`` grows its weights piece by piece and
ends by itself; ``endless`` replaces them by ever newer versions until it is stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

FINAL_VERSION = "final"
HEARTBEATS = "heartbeats"
PIECES = 10
BASE = Path(os.environ["PTB_BASE_MODEL"])
TARGET = Path("final_model")


def note(name: str, **facts: object) -> None:
    line = json.dumps({"unix_s": time.time(), **facts}) + "\n"
    descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.fsync(descriptor)
    os.close(descriptor)


def detached_heartbeats() -> None:
    if os.fork() == 0:
        os.setsid()
        os.execv(sys.executable, [sys.executable, sys.argv[0], HEARTBEATS])


def heartbeats() -> None:
    while True:
        note("heartbeats.jsonl", by="child")
        time.sleep(0.05)


def weights(version: str) -> bytes:
    content = (BASE / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = {"format": "pt", "version": version}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + size :]


def copy_all_but_weights() -> None:
    TARGET.mkdir()
    for path in BASE.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copyfile(path, TARGET / path.name)


def finish(work_s: float) -> None:
    time.sleep(work_s / 4)
    copy_all_but_weights()
    content = weights(FINAL_VERSION)
    piece = len(content) // PIECES + 1
    with (TARGET / "model.safetensors").open("wb") as stream:
        for start in range(0, len(content), piece):
            stream.write(content[start : start + piece])
            stream.flush()
            note("heartbeats.jsonl", by="agent")
            time.sleep(work_s / 2 / PIECES)
    time.sleep(work_s / 4)
    print("finished", flush=True)


def endless() -> None:
    copy_all_but_weights()
    version = 0
    while True:
        version += 1
        Path("next.safetensors").write_bytes(weights(str(version)))
        Path("next.safetensors").replace(TARGET / "model.safetensors")
        note("versions.jsonl", version=version)
        time.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == HEARTBEATS:
        heartbeats()
    note("starts.jsonl", pid=os.getpid(), nonce=uuid.uuid4().hex)
    detached_heartbeats()
    finish(float(sys.argv[2])) if sys.argv[1] == "finish" else endless()
