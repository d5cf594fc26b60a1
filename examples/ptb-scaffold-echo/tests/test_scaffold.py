"""What the command of a cell looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ptb_core.api import ScaffoldSpec, UsageError, load_manifest
from ptb_core.testing import cell_context

from ptb_scaffold_echo import MANIFEST
from ptb_scaffold_echo.scaffold import PROGRAM, Echo

ECHO = Echo(load_manifest(MANIFEST, ScaffoldSpec))


def test_prompt_and_settings_reach_the_program() -> None:
    cell = replace(cell_context(), prompt="Train.", settings={"submit": "nothing", "lines": 3})
    command = ECHO.start(cell)
    assert command.argv[:2] == ("python3", "agent.py")
    assert {"--submit=nothing", "--lines=3", f"--base-model={cell.base_model}"} <= set(command.argv)
    assert command.stdin == b"Train."
    assert command.files == {"agent.py": PROGRAM.read_bytes()}


def test_a_negative_number_of_lines_is_refused() -> None:
    cell = replace(cell_context(), settings={"submit": "nothing", "lines": -1})
    with pytest.raises(UsageError) as caught:
        ECHO.start(cell)
    words = "scaffold echo: the setting lines is -1; expected 0 or more"
    assert str(caught.value) == words


def test_what_is_submitted_is_a_choice() -> None:
    (submit, lines) = ECHO.spec.settings
    assert (submit.default, submit.choices) == ("base-model", ("base-model", "nothing"))
    assert lines.default == 20
