"""Settings as components get them."""

from __future__ import annotations

import sys
from pathlib import Path

from ptb_core.settings import check_settings
from ptb_core.specs import Setting

PATH = Setting(name="python", description="An interpreter.", type="string", is_path=True)


def test_a_path_is_absolute_and_a_link_stays_one(tmp_path: Path) -> None:
    """The interpreter of a virtual environment is a link, and finds its packages by its place."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    checked = check_settings((PATH,), {"python": "bin/python"}, "$", tmp_path)
    assert checked.values == {"python": str(tmp_path / "bin" / "python")}
    elsewhere = check_settings((PATH,), {"python": sys.executable}, "$", tmp_path)
    assert checked.identity == elsewhere.identity
