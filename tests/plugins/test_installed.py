"""The helper for plugin authors: distributions on the path for the length of a block."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.testing.installed import Site, temporary_site


def test_the_example_of_the_docstring_holds():
    with temporary_site() as site:
        site.install("ptb-mine", {"ptb_mine.py": "import nothing_like_it"}, {"mine": "ptb_mine"})
        (row,) = load_catalogue().rows("plugin")
        assert row.reason.startswith("ptb_mine cannot be imported: ModuleNotFoundError")


def fail_with(site: Site) -> None:
    files = {"ptb_mine/__init__.py": "", "ptb_mine/a.py": ""}
    site.install("ptb-mine", files, {"m": "ptb_mine.a"})
    load_catalogue()
    assert "ptb_mine.a" in sys.modules
    raise ZeroDivisionError


def test_nothing_is_left_behind_even_when_the_block_fails():
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(ZeroDivisionError), temporary_site() as site:
        fail_with(site)
    assert sys.path == path
    assert not any(name.startswith("ptb_mine") for name in set(sys.modules) - modules)
    assert not site.folder.exists()
    assert load_catalogue().rows("plugin") == ()


def test_a_folder_that_is_given_stays(tmp_path):
    with temporary_site(tmp_path) as site:
        site.install("ptb-mine", {}, "[ptb.v1]\n", version="2.0")
    assert (tmp_path / "ptb_mine-2.0.dist-info" / "entry_points.txt").read_text() == "[ptb.v1]\n"


def test_a_child_process_finds_what_is_installed():
    with temporary_site() as site:
        site.install("ptb-mine", {"ptb_mine.py": "x = 1"}, {"mine": "ptb_mine"})
        done = subprocess.run(
            [sys.executable, "-m", "ptb_core.cli.main", "plugins", "mine"],
            env=site.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    assert "  from     ptb-mine 1.0" in done.stdout
