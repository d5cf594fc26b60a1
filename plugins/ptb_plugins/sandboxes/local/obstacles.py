"""What a plan asks for and this host cannot give, found before anything is started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from ptb_core.api import Condition, Limits, SandboxError
from ptb_plugins.sandboxes.local.isolation import bwrap_failure, choose_isolation

GIB = 2**30


def isolation_obstacles(condition: Condition, wanted: object) -> tuple[str, ...]:
    """Return why the isolation that a plan needs cannot be had."""
    try:
        isolation = choose_isolation(wanted)
    except SandboxError as error:
        return (str(error).removeprefix("sandbox local: "),)
    if condition.network == "none" and isolation == "none":
        why = "the setting isolation is 'none'" if wanted == "none" else bwrap_failure()
        return (
            f"network 'none' cannot be enforced: {why}; install the package bubblewrap, or say "
            "network 'open', which is what the agent would have",
        )
    return ()


def separation_obstacles(wanted: object) -> tuple[str, ...]:
    """Return why programs that a model wrote would run with nothing between them and the host."""
    try:
        isolation = choose_isolation(wanted)
    except SandboxError:
        return ()  # told by isolation_obstacles, in the same words
    if isolation == "bwrap":
        return ()
    if wanted == "none":
        return ("its setting isolation is 'none'; set it to auto or bwrap",)
    return (f"{bwrap_failure()}; install the package bubblewrap and allow user namespaces",)


def host_obstacles(condition: Condition, limits: Limits) -> tuple[str, ...]:
    """Return which GPUs, processors and memory are lacking on this host."""
    found = []
    cpus = os.cpu_count() or 1
    if limits.cpus is not None and limits.cpus > cpus:
        found.append(f"limits.cpus is {limits.cpus:g}, and this host has {cpus} processors")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    if limits.memory_gib is not None and limits.memory_gib > memory:
        found.append(f"limits.memory_gib is {limits.memory_gib:g}, and this host has {memory:.0f}")
    if condition.gpus:
        found += _gpu_obstacles(condition)
    return tuple(found)


def _gpu_obstacles(condition: Condition) -> list[str]:
    names = gpu_names()
    pattern = condition.gpu_name
    fitting = [name for name in names if pattern is None or re.search(pattern, name)]
    if len(fitting) >= condition.gpus:
        return []
    kind = f" whose name matches {pattern!r}" if pattern else ""
    listed = ", ".join(names) or "none (nvidia-smi lists no GPU)"
    return [f"the condition asks for {condition.gpus} GPUs{kind}; this host has {listed}"]


def gpu_names() -> list[str]:
    """Return the name of each GPU that the driver lists; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [line.strip() for line in lines if line.strip()]
