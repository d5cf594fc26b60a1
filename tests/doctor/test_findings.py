"""What the doctor says of given facts: every level, with its exact words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ptb_core.doctor import gpus, grader, hub, machine, packages, places
from ptb_core.doctor.examine import _section
from ptb_core.doctor.findings import Finding
from ptb_core.doctor.gpus import Answer
from ptb_core.doctor.machine import Machine
from ptb_core.doctor.places import Place
from ptb_core.sizes import GIB


def told(findings: Iterable[Finding]) -> list[str]:
    """Each finding in one text."""
    return [
        " | ".join(filter(None, (one.level, one.fact, *one.details, one.advice)))
        for one in findings
    ]


# Packages -------------------------------------------------------------------------------------


def test_extras_are_read_from_the_requirements_of_the_distribution():
    requirements = [
        "click>=8.1",
        "torch>=2.6; extra == 'evaluation'",
        'lm-eval>=0.4.13 ; python_version > "3.10" and extra == "evaluation"',
        "peft>=0.15; extra == 'train'",
    ]
    assert packages.extras(requirements) == {"evaluation": ["torch", "lm-eval"], "train": ["peft"]}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"a": "1", "b": "2"}, "ok | extra x: a 1, b 2"),
        (
            {"a": "1", "b": None},
            "warning | extra x: b is not installed (a 1 is there) | to use what it brings: "
            "pip install 'posttrainbench[x]'",
        ),
        (
            {"a": None, "b": None},
            "warning | extra x: a, b are not installed | to use what it brings: "
            "pip install 'posttrainbench[x]'",
        ),
    ],
)
def test_an_incomplete_extra_is_a_warning_with_the_command_that_installs_it(versions, expected):
    assert told([packages.extra_finding("x", versions)]) == [expected]


def test_without_the_distribution_itself_its_installation_is_advised(monkeypatch):
    monkeypatch.setattr(packages, "installed_version", lambda name: None)
    (finding,) = told(packages.findings())
    assert finding.startswith("problem | Python 3.")
    assert finding.endswith(
        "; posttrainbench is not installed | install it: pip install posttrainbench, or pip "
        "install -e . in a checkout"
    )


# Machine --------------------------------------------------------------------------------------

BIG = Machine(
    cpus=16,
    own_cpus=16,
    memory_bytes=64 * GIB,
    own_memory_bytes=None,
    open_files=None,
    processes=4096,
)


def test_a_big_machine_asks_for_nothing():
    assert told(machine.machine_findings(BIG)) == [
        "ok | 16 processors",
        "ok | 64.0 GiB of memory",
        "ok | open files: no limit",
        "ok | processes and threads: up to 4096",
    ]


def test_a_container_is_measured_by_what_it_may_use():
    small = replace(BIG, own_cpus=2, own_memory_bytes=3 * GIB, open_files=256, processes=100)
    assert told(machine.machine_findings(small)) == [
        "ok | 16 processors, of which this process may use 2",
        "warning | 64.0 GiB of memory, of which this process's control group may use 3.0; a cell "
        "is taken to need 4 GiB | run one cell at a time with a small model, or use a machine "
        "with more memory",
        "warning | open files: only 256, and training programs may need 1024 | raise it before "
        "`ptb run`: ulimit -n 4096",
        "warning | processes and threads: only 100, and training programs may need 1024 | raise "
        "it before `ptb run`: ulimit -u 4096",
    ]


@pytest.mark.parametrize(
    ("content", "limit"), [("max\n", None), ("1073741824\n", GIB), ("", None), (None, None)]
)
def test_a_control_group_s_limit_is_read_where_there_is_one(tmp_path, content, limit):
    path = tmp_path / "memory.max"
    if content is not None:
        path.write_text(content)
    assert machine._group_limit(path) == limit


def test_this_machine_is_looked_at():
    seen = machine.look_at_machine()
    assert 1 <= seen.own_cpus <= seen.cpus
    assert seen.memory_bytes > 0


def test_good_clocks_ask_for_nothing():
    assert told(machine.judge_clocks(1_800_000_000, 7200.0, 1_790_000_000)) == [
        "ok | wall clock: 2027-01-15",
        "ok | boot clock: up for 2.0 hours",
    ]


def test_clocks_that_cannot_keep_a_deadline_are_problems():
    assert told(machine.judge_clocks(0.0, None, 1_790_000_000)) == [
        "problem | the wall clock says 1970-01-01, but this program was installed on 2026-09-21 "
        "| set the clock (NTP): deadlines and records carry it",
        "problem | the boot clock cannot be read, so a changed wall clock could move deadlines | "
        "use a Linux kernel with CLOCK_BOOTTIME, outside of emulators",
    ]


# Places ---------------------------------------------------------------------------------------

PLACE = Place(role="run folders", path=Path("/r"), free_bytes=20 * GIB, fault="", skew_s=0.0)
RUN_ADVICE = "start `ptb run` in another folder, or name one with --run-dir"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["ok | run folders (/r): 20.0 GiB free"]),
        (
            {"free_bytes": 5 * GIB},
            [
                "warning | run folders (/r): 5.0 GiB free; a cell's submission takes 3 to 8 GiB | "
                f"make room, or {RUN_ADVICE}"
            ],
        ),
        (
            {"fault": "Read-only file system"},
            [
                "problem | run folders (/r) cannot be written (Read-only file system) | "
                f"{RUN_ADVICE}"
            ],
        ),
        (
            {"skew_s": -7.4},
            [
                "ok | run folders (/r): 20.0 GiB free",
                "warning | run folders: the clock of their file server is 7 s behind this "
                "machine's | set both (NTP): cells are safe, for claims keep to the file "
                "server's clock, but times in records differ",
            ],
        ),
        (
            {"skew_s": 90.0},
            [
                "ok | run folders (/r): 20.0 GiB free",
                "warning | run folders: the clock of their file server is 90 s ahead of this "
                "machine's | set both (NTP): cells are safe, for claims keep to the file "
                "server's clock, but times in records differ",
            ],
        ),
    ],
)
def test_the_place_of_run_folders_needs_room_and_a_common_clock(changes, expected):
    assert told(places.run_findings(replace(PLACE, **changes))) == expected


def test_a_cache_that_cannot_be_written_takes_away_only_what_must_be_fetched():
    cache = replace(PLACE, role="cache", path=Path("/c"), fault="Permission denied")
    assert told(places.cache_findings(cache)) == [
        "warning | cache (/c) cannot be written (Permission denied) | set PTB_CACHE to a folder "
        "with room that you may write to"
    ]
    small = replace(PLACE, role="cache", path=Path("/c"), free_bytes=GIB)
    assert told(places.cache_findings(small)) == [
        "warning | cache (/c): 1.0 GiB free; a model of 4 billion parameters takes 8 GiB | set "
        "PTB_CACHE to a folder with room that you may write to"
    ]


def test_temporary_files_need_a_place():
    place = replace(PLACE, role="temporary files", path=Path("/tmp"), fault="Permission denied")
    assert told(places.temporary_findings(place)) == [
        "problem | temporary files (/tmp) cannot be written (Permission denied) | make it "
        "writable for everybody with the sticky bit set (mode 1777)"
    ]
    full = replace(place, fault="", free_bytes=GIB // 2)
    assert told(places.temporary_findings(full)) == [
        "warning | temporary files (/tmp): 0.5 GiB free; programs may need 1 GiB | make room there"
    ]


def test_a_folder_that_is_not_there_yet_is_tried_at_the_nearest_above_it_and_left_clean(tmp_path):
    place = places.look_at_place("run folders", tmp_path / "a" / "b")
    assert place.fault == ""
    assert place.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_why():
    assert places.look_at_place("cache", Path("/proc/none")).fault != ""


def test_without_a_home_folder_the_cache_is_a_warning(monkeypatch):
    import ptb_core.cache

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(ptb_core.cache, "cache_root", no_home)
    assert told(places.findings())[0] == (
        "warning | cache: there is no home folder to keep it in | set PTB_CACHE to a folder with "
        "room that you may write to"
    )


# GPUs -----------------------------------------------------------------------------------------

H100 = "GPU-1, 0, NVIDIA H100 80GB HBM3, 81559, 4, 550.54.15\n"
IN_THE_WAY = "wait until it is free, or take another machine; ptb touches nobody's processes"


@pytest.mark.parametrize(
    ("answer", "torch", "expected"),
    [
        (
            Answer(found=False),
            None,
            [
                "warning | no GPU: there is no program nvidia-smi | install the NVIDIA driver if "
                "this machine has a GPU; plans with 0 GPUs need none"
            ],
        ),
        (
            Answer(fault="Failed to initialize NVML: Driver/library version mismatch"),
            None,
            [
                "problem | nvidia-smi does not work: Failed to initialize NVML: Driver/library "
                "version mismatch | mend the driver (after a new kernel its module must be built "
                "again); plans that ask for GPUs cannot run until then"
            ],
        ),
        (
            Answer(),
            None,
            [
                "warning | nvidia-smi works and lists no GPU | look whether the GPU is handed "
                "into this container or switched off"
            ],
        ),
        (
            Answer(gpus=H100),
            "2.13.0",
            ["ok | GPU 0: NVIDIA H100 80GB HBM3, 79.6 GiB, driver 550.54.15"],
        ),
        (
            Answer(gpus=H100, processes="GPU-1, 77, python, 70000\nGPU-2, 78, other, 5\n"),
            None,
            [
                "warning | GPU 0: NVIDIA H100 80GB HBM3, 79.6 GiB, driver 550.54.15; others use "
                f"it | pid 77: python, 70000 MiB | {IN_THE_WAY}"
            ],
        ),
        (
            Answer(gpus=H100.replace(" 4,", " 40960,")),
            None,
            [
                "warning | GPU 0: NVIDIA H100 80GB HBM3, 79.6 GiB, driver 550.54.15; 40.0 GiB of "
                f"it are in use | {IN_THE_WAY}"
            ],
        ),
        (
            Answer(gpus=H100.replace("81559, 4", "[N/A], [N/A]")),
            "2.13.0+cpu",
            [
                "ok | GPU 0: NVIDIA H100 80GB HBM3, ? GiB, driver 550.54.15",
                "warning | torch 2.13.0+cpu is a build without CUDA, so the GPUs stay idle | "
                "install the CUDA build of the same version from PyTorch's own index",
            ],
        ),
    ],
)
def test_every_answer_of_the_driver_is_explained(answer, torch, expected):
    assert told(gpus.gpu_findings(answer, torch)) == expected


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo 'a, b'", Answer(gpus="a, b\n", processes="a, b\n")),
        ("echo first; echo last >&2; exit 9", Answer(fault="last")),
        ("exit 9", Answer(fault="exit code 9")),
    ],
)
def test_the_driver_is_asked_through_its_program(tmp_path, monkeypatch, script, answer):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpus.ask_driver() == answer


def test_without_the_driver_s_program_there_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.ask_driver() == Answer(found=False)


# Hub ------------------------------------------------------------------------------------------

NOT_ASKED = "ok | https://huggingface.co was not asked; `ptb doctor --network` does"


@pytest.fixture
def no_token(tmp_path, monkeypatch):
    """A user without a token of the hub."""
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


def test_without_a_token_gated_things_cannot_be_had(no_token):
    assert told(hub.findings(ask=False)) == [
        "warning | there is no token of the hub | for gated models and data, set HF_TOKEN to a "
        "token that may read them, or run `hf auth login`",
        NOT_ASKED,
    ]


def test_a_token_is_told_by_its_place_and_never_itself(no_token, monkeypatch):
    no_token.write_text("hf_fake_stored")
    assert told(hub.findings(ask=False))[0] == "ok | a token of the hub is there: the stored log-in"
    monkeypatch.setenv("HF_TOKEN", "hf_fake_given")
    assert told(hub.findings(ask=False)) == [
        "ok | a token of the hub is there: HF_TOKEN",
        NOT_ASKED,
    ]


class Refusing(BaseHTTPRequestHandler):
    """Answers 403 to everybody."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Refusing) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def test_any_answer_of_the_hub_will_do(no_token, server, monkeypatch):
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert told(hub.findings(ask=True))[1] == f"ok | {address} answers"


def test_a_hub_that_does_not_answer_is_named_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (text,) = told([hub.network_finding(f"http://user:secret@127.0.0.1:{port}")])
    assert text == (
        f"warning | http://127.0.0.1:{port} does not answer: Connection refused | look at network "
        "and proxy (HTTPS_PROXY), name another hub with HF_ENDPOINT, or fetch from a folder: ptb "
        "prefetch PLAN --mirror DIR"
    )


# Anything -------------------------------------------------------------------------------------


def test_a_section_that_fails_is_a_finding_of_its_own():
    section = _section("odd", lambda: [1 / 0])  # type: ignore[list-item]
    assert told(section.findings) == [
        "problem | this could not be looked at: ZeroDivisionError: division by zero | report this "
        "with the output of `ptb doctor`; the other sections stand"
    ]


# Grader ---------------------------------------------------------------------------------------


def test_a_key_of_the_default_grader_is_named_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert told(grader.findings()) == [
        "ok | the grader gpt-5-mini at api.openai.com: a key is there: OPENAI_API_KEY"
    ]


def test_a_missing_key_of_the_default_grader_is_a_warning_with_what_to_do(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert told(grader.findings()) == [
        "warning | the grader gpt-5-mini at api.openai.com: its key is read from OPENAI_API_KEY, "
        "which is not set | set it where `ptb` is started, or name another endpoint in the plan's "
        "`grader`"
    ]
