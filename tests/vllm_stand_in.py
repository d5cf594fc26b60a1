"""An environment whose vLLM is the stand-in of ``tests/fake_vllm``, and a checkpoint for it."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_vllm")


def make_environment(folder: Path, version: str | None = "0.32.0", name: str = "vllm") -> Path:
    """Make an interpreter that has the stand-in, or no vLLM at all, and return its path."""
    packages = folder / "packages"
    if version is not None:
        shutil.copytree(SOURCE / "vllm", packages / "vllm")
        info = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", "utf-8")
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    lines = ["#!/bin/sh", f'export PYTHONPATH="{packages}"', f'exec "{sys.executable}" -S "$@"']
    program.write_text("\n".join(lines) + "\n", "utf-8")
    program.chmod(0o755)
    return program


def make_checkpoint(folder: Path, fault: str = "") -> Path:
    """Write the files of a checkpoint without any tensor; the server does what ``fault`` says."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    (folder / "template.jinja").write_text("{{ strftime_now('%d %B %Y') }}", "utf-8")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    (folder / "fault.txt").write_text(fault, "utf-8")
    return folder
