"""The scaffold echo for PostTrainBench."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ptb_core.api import Scaffold, ScaffoldSpec, hookimpl, load_manifest

from ptb_scaffold_echo.scaffold import Echo

MANIFEST = Path(__file__).with_name("echo.json")


@hookimpl
def ptb_register_scaffolds() -> Iterable[Scaffold]:
    """Return the scaffolds that this distribution brings."""
    return [Echo(load_manifest(MANIFEST, ScaffoldSpec))]
