"""``ptb doctor``: text and JSON, exit status, and machines on which little works."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ptb_core.catalogue import load_catalogue
from ptb_core.cli.doctor import lines
from ptb_core.cli.main import main
from ptb_core.doctor.findings import Report, Section, ok, problem, warning
from ptb_core.testing.installed import temporary_site

SECTIONS = [
    "python and packages",
    "plugins",
    "components",
    "isolation",
    "processors, memory, limits",
    "clocks",
    "folders",
    "GPUs",
    "hub",
    "grader",
    "shipped plans",
]


@pytest.fixture(autouse=True)
def fresh_catalogue():
    load_catalogue.cache_clear()
    yield
    load_catalogue.cache_clear()


def test_each_finding_is_a_line_with_its_details_and_what_to_do_below():
    first = Section(name="one", findings=(ok("fine"), warning("scarce", "get more", "a", "b\nc")))
    report = Report(
        sections=(first, Section(name="two", findings=(problem("gone", "bring it"),))), missing=()
    )
    assert lines(report) == [
        "one",
        "  ok       fine",
        "  warning  scarce",
        "             a",
        "             b",
        "             c",
        "           -> get more",
        "two",
        "  problem  gone",
        "           -> bring it",
        "",
        "plans can run here; 1 ok, 1 warning, 1 problem",
    ]


def test_a_machine_that_can_run_something_exits_with_zero(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert [line for line in text if line and not line.startswith(" ")][:-1] == SECTIONS
    assert text[-1].startswith("plans can run here; ")


def test_a_machine_that_can_run_nothing_exits_with_one_and_says_what_is_missing(
    capsys, monkeypatch
):
    monkeypatch.setenv("PTB_DISABLE_PLUGINS", "builtin-engines,builtin-sandboxes")
    assert main(["doctor"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no plan can run here: no usable sandboxes or engines; ")


def test_json_holds_every_finding(capsys):
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["can_run"] is True
    assert report["missing"] == []
    assert [section["name"] for section in report["sections"]] == SECTIONS
    finding = report["sections"][0]["findings"][0]
    assert set(finding) == {"level", "fact", "details", "advice"}


def test_a_poor_machine_with_a_broken_plugin_is_examined_to_the_end(tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    with temporary_site() as site:
        site.install("ptb-bad", {"bad.py": "1 / 0\n"}, {"bad": "bad"})
        environment = {
            "PYTHONPATH": site.environment()["PYTHONPATH"],
            "HOME": str(blocked / "home"),
            "PATH": str(tmp_path),
            "HF_TOKEN": "hf_fake_secret",
        }
        done = subprocess.run(
            [sys.executable, "-m", "ptb_core.cli.main", "doctor"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "  problem  ptb-bad 1.0 (entry point bad): the whole plugin is not loaded\n" in done.stdout
    )
    assert "  warning  no GPU: there is no program nvidia-smi\n" in done.stdout
    assert (
        f"  warning  cache ({blocked}/home/.cache/posttrainbench) cannot be written ("
        in done.stdout
    )
    assert "  warning  sandbox local cannot offer network none here\n" in done.stdout
    assert "  ok       a token of the hub is there: HF_TOKEN\n" in done.stdout
    assert "hf_fake_secret" not in done.stdout
    assert "could not be looked at" not in done.stdout


def test_without_the_option_nothing_is_sent(monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    assert main(["doctor"]) == 0


def test_nothing_heavy_is_imported(tmp_path):
    program = (
        "import sys\nfrom ptb_core.cli.main import main\nassert main(['doctor']) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'vllm', 'lm_eval', 'numpy', 'docker'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PTB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert done.stderr == b"[]\n"
