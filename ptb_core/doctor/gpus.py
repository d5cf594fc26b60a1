"""GPUs as the driver tells of them: which, how much memory, who uses them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from ptb_core.doctor.findings import Finding, ok, problem, warning
from ptb_core.doctor.packages import installed_version

TIMEOUT_S = 5
"""A driver that needs longer is not well."""
IN_USE_MIB = 1024
"""Memory from which a GPU counts as used, though the driver names no process (in containers)."""

_GPU_FIELDS = "uuid,index,name,memory.total,memory.used,driver_version"
_PROCESS_FIELDS = "gpu_uuid,pid,process_name,used_gpu_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What ``nvidia-smi`` said.

    Attributes:
        found: False when there is no such program.
        fault: Why it gave no answer; empty when it did.
        gpus: One line of :data:`_GPU_FIELDS` per GPU.
        processes: One line of :data:`_PROCESS_FIELDS` per process on a GPU.
    """

    found: bool = True
    fault: str = ""
    gpus: str = ""
    processes: str = ""


def findings() -> Iterator[Finding]:
    """Yield which GPUs can be used."""
    return gpu_findings(ask_driver(), installed_version("torch"))


def ask_driver() -> Answer:
    """Run ``nvidia-smi``."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Answer(found=False)
    try:
        gpus = _run(program, f"--query-gpu={_GPU_FIELDS}")
        processes = _run(program, f"--query-compute-apps={_PROCESS_FIELDS}")
    except subprocess.TimeoutExpired:
        return Answer(fault=f"no answer within {TIMEOUT_S} s")
    except subprocess.CalledProcessError as error:
        words = (str(error.stdout) + str(error.stderr)).strip()
        return Answer(fault=words.splitlines()[-1] if words else f"exit code {error.returncode}")
    except OSError as error:
        return Answer(fault=error.strerror or str(error))
    return Answer(gpus=gpus, processes=processes)


def _run(program: str, query: str) -> str:
    done = subprocess.run(
        [program, query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout


def gpu_findings(answer: Answer, torch: str | None) -> Iterator[Finding]:
    """Yield what an answer of the driver means.

    Args:
        answer: What ``nvidia-smi`` said.
        torch: Version of the installed torch; None without one.
    """
    if not answer.found:
        advice = "install the NVIDIA driver if this machine has a GPU; plans with 0 GPUs need none"
        yield warning("no GPU: there is no program nvidia-smi", advice)
        return
    if answer.fault:
        advice = "mend the driver (after a new kernel its module must be built again); plans that "
        advice += "ask for GPUs cannot run until then"
        yield problem(f"nvidia-smi does not work: {answer.fault}", advice)
        return
    rows = _rows(answer.gpus, 6)
    if not rows:
        advice = "look whether the GPU is handed into this container or switched off"
        yield warning("nvidia-smi works and lists no GPU", advice)
        return
    for row in rows:
        yield _gpu_finding(row, [one for one in _rows(answer.processes, 4) if one[0] == row[0]])
    if torch is not None and torch.endswith("+cpu"):
        advice = "install the CUDA build of the same version from PyTorch's own index"
        yield warning(f"torch {torch} is a build without CUDA, so the GPUs stay idle", advice)


def _gpu_finding(row: list[str], processes: list[list[str]]) -> Finding:
    _, index, name, total, used, driver = row
    fact = f"GPU {index}: {name}, {_gib(total)} GiB, driver {driver}"
    advice = "wait until it is free, or take another machine; ptb touches nobody's processes"
    if processes:
        details = [f"pid {pid}: {program}, {memory} MiB" for _, pid, program, memory in processes]
        return warning(f"{fact}; others use it", advice, *details)
    if used.isdigit() and int(used) >= IN_USE_MIB:
        return warning(f"{fact}; {_gib(used)} GiB of it are in use", advice)
    return ok(fact)


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == columns]


def _gib(mebibytes: str) -> str:
    return f"{int(mebibytes) / 1024:.1f}" if mebibytes.isdigit() else "?"
