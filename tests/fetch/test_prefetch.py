from __future__ import annotations

from pathlib import Path

import pytest

from ptb_core.errors import DataError
from ptb_core.evaluation.exchange import DataDir
from ptb_core.fetch import FetchContext, prefetch
from ptb_core.specs import DataFile, FileSource, TaskSpec
from tests.fetch.conftest import COMMIT, Hub
from tests.fetch.test_data import task
from tests.fetch.test_hub import model

FILE = DataFile(name="test", source=FileSource(hub="org/set", revision=COMMIT, path="x.jsonl"))


@pytest.fixture
def filled(hub: Hub) -> Hub:
    hub.files["org/model"] = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub.files["datasets/org/set"] = {"x.jsonl": b'{"a": 1}\n'}
    return hub


def states(tasks: tuple[TaskSpec, ...] = (task(FILE),)) -> list[tuple[str, str, int]]:
    models = (model(FileSource(hub="org/model")),)
    return [(item.name, item.state, item.size_bytes) for item in prefetch(tasks, models)]


@pytest.mark.parametrize("client", [True, False])
def test_a_second_run_finds_everything_there(
    filled: Hub, context: FetchContext, client: bool, request: pytest.FixtureRequest
) -> None:
    if client:
        pytest.importorskip("huggingface_hub")
    else:
        request.getfixturevalue("no_client")
    assert states() == [("model", "fetched", 9), ("t", "fetched", 9)]
    asked = len(filled.requests)
    assert states() == [("model", "there", 9), ("t", "there", 9)]
    assert len(filled.requests) == asked


@pytest.mark.usefixtures("no_client")
def test_one_that_fails_stops_no_other(filled: Hub, context: FetchContext) -> None:
    del filled.files["org/model"]
    assert [state for _, state, _ in states()] == ["failed", "fetched"]


@pytest.mark.usefixtures("no_client", "filled")
def test_data_that_are_there_but_wrong_count_as_failed(context: FetchContext) -> None:
    def refuse(spec: TaskSpec, data: DataDir) -> None:
        raise DataError(f"{spec.name}: {data.file('test').name} holds 1 sample")

    (item,) = prefetch([task(FILE)], [], look_at=refuse)
    assert (item.state, item.reason) == ("failed", "t: x.jsonl holds 1 sample")


@pytest.mark.usefixtures("no_client")
def test_a_fetch_that_broke_off_goes_on_where_it_stood(
    filled: Hub, context: FetchContext, tmp_path: Path
) -> None:
    states(tasks=())
    folder = context.root / "hub" / "models" / "org" / "model" / COMMIT
    weights = folder / "model.safetensors"
    weights.rename(weights.with_name("model.safetensors.part"))
    weights.with_name("model.safetensors.part").write_bytes(b"wei")
    assert states(tasks=()) == [("model", "fetched", 9)]
    assert filled.requests[-1][2]["Range"] == "bytes=3-"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
