"""Cells as supervisors leave them, with small real weights in the places of big ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from pathlib import Path
from typing import Any

from ptb_core.evaluation.exchange import TaskScore
from ptb_core.evidence import collect_workspace
from ptb_core.integrity import Citation, Finding, Verdict
from ptb_core.json_codec import to_builtins
from ptb_core.records import Evaluation, Solve
from ptb_core.run_folder import CellFolder, RunFolder
from ptb_core.sandboxing import SandboxFacts, SealedFile
from ptb_core.specs import CellSpec
from ptb_core.stages.context import Judged, Sealed, Solved

from ..core.small_run import finish, write_marker

MIB = 2**20
OWN_FILES = re.compile(r"(^|/)(claims(/\d{6}\.[a-z]+)?|\.trash)$")
"""What a removal itself makes: its claim, and the trash while that is empty."""


def weights(fill: bytes, size: int = 2 * MIB, dtype: str = "F32") -> bytes:
    """Return a whole safetensors file of one tensor."""
    header = json.dumps(
        {"w": {"dtype": dtype, "shape": [size // 4], "data_offsets": [0, size]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + fill * size


def sealed_file(path: Path, root: Path) -> SealedFile:
    content = path.read_bytes()
    return SealedFile(
        path=path.relative_to(root).as_posix(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def evaluation(value: float) -> Evaluation:
    score = TaskScore(value=value, stderr=0.1, n=10)
    return Evaluation(
        complete=True, n_expected=10, n_scored=10, scores={"repaired": score}, counted="repaired"
    )


def citing(*paths: str) -> Verdict:
    finding = Finding(
        violation="other-base-model",
        summary="-",
        citations=tuple(Citation(path=path) for path in paths),
    )
    return Verdict(judge="lineage", version="1", outcome="flagged", findings=(finding,))


def work(run_folder: RunFolder, cell: CellSpec, fill: bytes = b"a") -> CellFolder:
    """Leave what solve and seal leave: a submission, the agent's copy of it, evidence."""
    folder = run_folder.cell(cell.id)
    attempt = folder.attempt("solve", 1)
    final = attempt / "workspace" / "final_model"
    final.mkdir(parents=True)
    (final / "config.json").write_text("{}", "utf-8")
    (final / "model.safetensors").write_bytes(weights(fill))
    (attempt / "workspace" / "train.py").write_text("print('trains')", "utf-8")
    (attempt / "agent.stdout").write_text("said", "utf-8")
    submission = folder.attempt("seal", 1) / "submission"
    submission.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (submission / name).write_bytes((final / name).read_bytes())
        (submission / name).chmod(0o444)
    mark(folder)
    return folder


def mark(folder: CellFolder) -> None:
    """Write the markers of solve and seal for what lies in their first attempts."""
    attempt = folder.attempt("solve", 1)
    submission = folder.attempt("seal", 1) / "submission"
    evidence = folder.attempt("seal", 1) / "evidence" / "workspace"
    collect_workspace(attempt / "workspace", evidence, "final_model")
    final = sorted((attempt / "workspace" / "final_model").iterdir())
    solved = Solved(
        solve=Solve(outcome="finished", detail="-", seconds=1.0),
        workspace=attempt / "workspace",
        seal=tuple(sealed_file(path, attempt / "workspace") for path in final),
        harness=(),
        trace=attempt / "trace.json",
        prompt_sha256="0" * 64,
        facts=SandboxFacts(isolation="none", description="-", network_enforced=False),
    )
    sealed = Sealed(
        state="sealed",
        reason="",
        path=submission,
        files=tuple(sealed_file(path, submission) for path in sorted(submission.iterdir())),
        notes=(),
        evidence=evidence,
        omitted={},
    )
    write_marker(folder.marker("solve"), "solve", to_builtins(solved))
    write_marker(folder.marker("seal"), "seal", to_builtins(sealed))


def recorded(
    run_folder: RunFolder, cell: CellSpec, score: float = 0.25, fill: bytes = b"a", **changes: Any
) -> CellFolder:
    """Leave a whole cell; it counts with its own score unless the changes say otherwise."""
    folder = work(run_folder, cell, fill)
    facts: dict[str, Any] = {"verdict": "clean", "evaluation": evaluation(score), **changes}
    judged = Judged(outcome=facts["verdict"], verdicts=facts.get("verdicts", ()))
    write_marker(folder.marker("judge"), "judge", to_builtins(judged))
    finish(run_folder, cell, **facts)
    return folder


def flagged(run_folder: RunFolder, cell: CellSpec, *cited: str) -> CellFolder:
    return recorded(
        run_folder,
        cell,
        counts="base",
        reason="flagged: other-base-model",
        verdict="flagged",
        verdicts=(citing(*cited),),
    )


def cite_earlier(folder: CellFolder, *paths: str) -> None:
    """Leave an earlier verdict, that the present one has replaced."""
    judged = Judged(outcome="flagged", verdicts=(citing(*paths),))
    write_marker(folder.attempt_marker("judge", 1), "judge", to_builtins(judged))


def content(root: Path) -> dict[str, object]:
    """Return everything below a folder: what it is and its content, to see what changed."""
    found: dict[str, object] = {}
    for parent, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(parent, name)
            key = path.relative_to(root).as_posix()
            if OWN_FILES.search(key):
                continue
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            else:
                found[key] = path.read_bytes() if path.is_file() else "folder"
    return found


def gone(before: dict[str, object], after: dict[str, object]) -> set[str]:
    """Return what is no longer there, without what the removal itself writes."""
    assert all(after[key] == before[key] for key in before if key in after), "something changed"
    return set(before) - set(after)
