"""What a plan asks for and this host cannot give is found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptb_core.api import Condition, Limits
from ptb_plugins.sandboxes.local import isolation
from ptb_plugins.sandboxes.local.obstacles import (
    host_obstacles,
    isolation_obstacles,
    separation_obstacles,
)

CONDITION = Condition(hours=1, gpus=0)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PATH that holds only what the test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    isolation.bwrap_failure.cache_clear()
    yield tmp_path
    isolation.bwrap_failure.cache_clear()


def driver(folder: Path, *names: str) -> None:
    """A program that lists GPUs as the driver's does."""
    lines = "".join(f"echo '{name}'\n" for name in names)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}", "utf-8")
    (folder / "nvidia-smi").chmod(0o755)


def test_a_cpu_condition_is_no_obstacle(programs: Path) -> None:
    assert host_obstacles(CONDITION, Limits()) == ()
    assert isolation_obstacles(CONDITION, "auto") == ()


def test_gpus_without_a_driver_are_an_obstacle(programs: Path) -> None:
    (text,) = host_obstacles(Condition(hours=1, gpus=4), Limits())
    assert text == ("the condition asks for 4 GPUs; this host has none (nvidia-smi lists no GPU)")


def test_gpus_of_another_name_or_too_few_are_an_obstacle(programs: Path) -> None:
    driver(programs, "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB")
    assert host_obstacles(Condition(hours=1, gpus=1, gpu_name="H100"), Limits()) == ()
    assert host_obstacles(Condition(hours=1, gpus=2), Limits()) == ()
    (text,) = host_obstacles(Condition(hours=1, gpus=2, gpu_name="H100"), Limits())
    assert text == (
        "the condition asks for 2 GPUs whose name matches 'H100'; this host has "
        "NVIDIA H100 80GB HBM3, NVIDIA A100-SXM4-40GB"
    )


def test_more_processors_or_memory_than_the_host_has_are_obstacles(programs: Path) -> None:
    texts = host_obstacles(CONDITION, Limits(cpus=4096, memory_gib=1e6))
    assert [text.split(" is ")[0] for text in texts] == ["limits.cpus", "limits.memory_gib"]


def test_no_network_without_bubblewrap_is_an_obstacle(programs: Path) -> None:
    (text,) = isolation_obstacles(Condition(hours=1, gpus=0, network="none"), "auto")
    assert text.startswith("network 'none' cannot be enforced: bubblewrap is not installed")
    (text,) = isolation_obstacles(Condition(hours=1, gpus=0, network="none"), "none")
    assert "the setting isolation is 'none'" in text


def test_bubblewrap_asked_for_and_absent_is_an_obstacle(programs: Path) -> None:
    (text,) = isolation_obstacles(CONDITION, "bwrap")
    assert text.startswith("setting isolation is 'bwrap', but bubblewrap is not installed")


def test_programs_are_separated_by_bubblewrap_or_not_at_all(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = separation_obstacles("auto")
    assert text.startswith("bubblewrap is not installed")
    assert text.endswith("; install the package bubblewrap and allow user namespaces")
    (text,) = separation_obstacles("none")
    assert text == "its setting isolation is 'none'; set it to auto or bwrap"
    assert separation_obstacles("bwrap") == ()  # isolation_obstacles has said why it cannot be
    with monkeypatch.context() as patched:
        patched.setattr(isolation, "bwrap_failure", lambda: None)
        assert separation_obstacles("auto") == ()
        assert separation_obstacles("none") != ()
