"""Death in the windows that random times seldom hit; the sweep over all steps is a command."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .crash_points import Sweep, describe

pytestmark = pytest.mark.slow

SUPERVISOR = {
    "1:os.link": "its claim is written and not yet taken",
    "2:os.remove": "its claim is taken, the temporary file is still there",
    "1:control/.config.json": "the session's name is taken, no guardian lives",
    "1:solve/attempt-001/.live.json": "the session is open and nobody knows of it",
    "1:control/processes/": "the session is known, the agent is not started",
    "3:solve/attempt-001/.live.json": "the agent is started and not noted",
    "1:os.remove session.json": "the session's folder is being removed",
    "1:solve/.done.json": "everything but the marker is there",
    "5:journal.jsonl": "the marker is there, the journal does not say so",
    "4:.submission.partial": "the seal is copying",
    "1:generate/.live.json": "the server's session is open and nobody knows of it",
    "2:s/engine": "the server is starting",
    "1:.progress.json": "the answers are coming",
    "1:os.symlink": "judges are looking",
    "1:record/.done.json": "the record is there, its marker is not",
    "1:.released": "all is done, the claim is not released",
}
"""What has happened when the supervisor dies, by its step."""

OTHERS = (
    ("command-line", "2:run.json", "the head is written under its temporary name"),
    ("command-line", "1:jobs.jsonl", "a supervisor is started and not noted"),
    ("solve-guardian", "1:guardian.json", "nobody knows the guardian"),
    ("solve-guardian", "3:.state.json", "all is frozen and hashed, and the seal not written"),
    ("solve-guardian", "5:.state.json", "all is dead, and the last word not written"),
    ("serve-guardian", "3:.state.json", "the server is dead, and the last word not written"),
)
POINTS = (*(("supervisor", step, words) for step, words in SUPERVISOR.items()), *OTHERS)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"), "none")


def test_a_cell_survives_a_death_in_each_window(sweep: Sweep) -> None:
    with ThreadPoolExecutor(2) as pool:
        points = list(pool.map(lambda point: sweep.point(point[0], point[1]), POINTS))
    missed = [f"{point.victim} {point.step}" for point in points if not point.died]
    assert missed == [], "steps that do not exist (any more)"
    faults = [describe(point) for point in points if point.faults]
    assert not faults, "\n".join(faults)
