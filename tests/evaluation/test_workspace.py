from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ptb_core.data import data_dir
from ptb_core.errors import DataError, InputFileError
from ptb_core.evaluation.exchange import (
    ChatRequest,
    Completion,
    DataDir,
    Sample,
    SampleScore,
    TaskScore,
)
from ptb_core.evaluation.protocol import PROTOCOLS
from ptb_core.evaluation.statistics import mean_and_stderr
from ptb_core.evaluation.workspace import lay_harness, read_settings
from ptb_core.integrity import HarnessFile
from ptb_core.interfaces import Task
from ptb_core.specs import (
    ComponentChoice,
    Condition,
    DataFile,
    FileSource,
    ModelSpec,
    RequestKind,
    Scoring,
    TaskSpec,
)

CONDITION = Condition(hours=1, gpus=0, provide_train_data=True)
TRAIN = [{"question": "a\u2028b?", "answer": "1"}, {"question": "c?", "answer": "2"}]


class PlainTask(Task):
    def samples(self, data: DataDir) -> Sequence[Sample]:
        return []

    def requests(self, sample: Sample, requests: RequestKind) -> tuple[ChatRequest, ...]:
        return ()

    def score(
        self, sample: Sample, completions: Sequence[Completion], scoring: Scoring
    ) -> SampleScore:
        return SampleScore(id=sample.id, value=0.0)

    def aggregate(self, scores: Sequence[SampleScore], scoring: Scoring) -> TaskScore:
        return mean_and_stderr(scores)


def spec(needs: tuple[str, ...] = ()) -> TaskSpec:
    source = FileSource(packaged="x")
    return TaskSpec(
        name="plain",
        title="Plain",
        description="",
        metric="accuracy",
        n_samples=2,
        max_tokens=16,
        default_limit=1,
        data=(
            DataFile(name="test", source=source),
            DataFile(name="train", source=source, agents_may_train=True),
        ),
        needs=needs,
    )


@pytest.fixture
def model(tmp_path: Path) -> ModelSpec:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    return ModelSpec(
        name="m",
        title="M",
        description="",
        source=FileSource(hub="o/m"),
        family="qwen",
        chat_template=str(template),
        turn_end_tokens=(),
        architectures=("A",),
        parameters=1,
        context_tokens=64,
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    test, train = tmp_path / "in.jsonl", tmp_path / "in.jsonl.gz"
    test.write_text('{"question": "t?"}\n')
    train.write_bytes(gzip.compress("".join(map(_line, TRAIN)).encode()))
    return DataDir(files={"test": test, "train": train}, prompts={"user": "Say {prompt}"})


def _line(row: dict[str, str]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def lay(
    folder: Path,
    model: ModelSpec,
    data: DataDir,
    condition: Condition = CONDITION,
    task: TaskSpec | None = None,
    deadline_unix_s: float | None = None,
) -> dict[str, HarnessFile]:
    folder.mkdir(exist_ok=True)
    laid = lay_harness(
        folder,
        task=PlainTask(task or spec()),
        model=model,
        condition=condition,
        protocol=PROTOCOLS["strict"],
        engine=ComponentChoice(name="transformers", settings={"batch_size": 4}),
        data=data,
        deadline_unix_s=deadline_unix_s,
    )
    return {file.path: file for file in laid}


def present(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_everything_that_is_laid_is_returned_with_its_digest_and_role(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    laid = lay(tmp_path / "w", model, data)
    assert {path: file.role for path, file in laid.items()} == {
        "evaluate.py": "evaluation",
        "evaluation/settings.json": "evaluation",
        "evaluation/prompts/user.txt": "evaluation",
        "evaluation/data/test.jsonl": "evaluation-data",
        "evaluation/data/train.jsonl": "evaluation-data",
        "templates/qwen.jinja": "template",
        "timer.sh": "timer",
        "data/train.jsonl": "training-data",
    }
    assert set(laid) == present(tmp_path / "w")
    for path, file in laid.items():
        content = (tmp_path / "w" / path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        is_kept = file.role in ("evaluation", "template", "timer")
        assert file.text == (content.decode() if is_kept else None)


def test_without_development_evaluation_there_is_no_script_and_no_test_data(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    condition = Condition(hours=1, gpus=0, dev_evaluation="none")
    laid = lay(tmp_path / "w", model, data, condition)
    assert set(laid) == present(tmp_path / "w") == {"templates/qwen.jinja", "timer.sh"}


def test_packed_data_is_laid_unpacked(tmp_path: Path, model: ModelSpec, data: DataDir) -> None:
    lay(tmp_path / "w", model, data)
    laid = (tmp_path / "w" / "evaluation" / "data" / "train.jsonl").read_text("utf-8")
    assert laid == "".join(map(_line, TRAIN))


def test_training_rows_stand_one_per_line_for_every_reader_of_lines(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    lines = (tmp_path / "w" / "data" / "train.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == TRAIN


def test_settings_name_the_workspaces_own_files(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    settings = read_settings(tmp_path / "w")
    assert settings.task == "plain"
    assert settings.model == replace(model, chat_template="templates/qwen.jinja")
    assert settings.protocol == PROTOCOLS["strict"]
    assert settings.engine == ComponentChoice(name="transformers", settings={"batch_size": 4})
    assert settings.data == {
        "test": "evaluation/data/test.jsonl",
        "train": "evaluation/data/train.jsonl",
    }
    assert settings.prompts == {"user": "evaluation/prompts/user.txt"}
    assert settings.default_limit == 1
    assert str(tmp_path) not in (tmp_path / "w" / "evaluation" / "settings.json").read_text()


def test_settings_that_were_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "settings.json").write_text("{")
    with pytest.raises(InputFileError, match=r"settings.json: 1 fault\n.* as it was laid here"):
        read_settings(tmp_path)


def test_a_missing_template_is_named(tmp_path: Path, model: ModelSpec, data: DataDir) -> None:
    broken = replace(model, chat_template=str(tmp_path / "none.jinja"))
    with pytest.raises(DataError, match=r"none.jinja cannot be copied into the workspace"):
        lay(tmp_path / "w", broken, data)


def test_damaged_packed_data_is_named(tmp_path: Path, model: ModelSpec, data: DataDir) -> None:
    data.file("train").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"in.jsonl.gz cannot be unpacked"):
        lay(tmp_path / "w", model, data)


# timer.sh -------------------------------------------------------------------------------------


def timer(folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "timer.sh"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("left_s", "shown"), [(3 * 3600 + 300 + 30, "3:05"), (59 + 30, "0:01"), (36000 + 30, "10:00")]
)
def test_the_timer_shows_hours_and_minutes(
    tmp_path: Path, model: ModelSpec, data: DataDir, left_s: int, shown: str
) -> None:
    lay(tmp_path / "w", model, data, deadline_unix_s=time.time() + left_s)
    done = timer(tmp_path / "w")
    assert done.stdout == f"Remaining time (hours:minutes):\n{shown}\n"


def test_the_timer_says_when_it_has_expired(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data, deadline_unix_s=time.time() - 5)
    assert timer(tmp_path / "w").stdout == "Timer expired!\n"


def test_a_timer_without_a_deadline_of_its_own_asks_the_environment(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    env = {"PTB_DEADLINE_UNIX_S": f"{time.time() + 7230:.3f}"}
    assert timer(tmp_path / "w", env).stdout.endswith("\n2:00\n")
    unknown = timer(tmp_path / "w")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No deadline is known: PTB_DEADLINE_UNIX_S is not set.\n"


# evaluate.py ----------------------------------------------------------------------------------


def evaluate(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command: Iterable[str] = (sys.executable, "evaluate.py", *arguments)
    return subprocess.run(
        [*command],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_evaluate_py_is_not_misled_by_files_beside_it(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    (tmp_path / "w" / "click.py").write_text("raise RuntimeError('shadowed')\n")
    done = evaluate(tmp_path / "w", "--help")
    assert done.returncode == 0, done.stderr
    for option in (
        *("--model-path", "--limit", "--json-output-file", "--max-tokens", "--engine"),
        *("--max-connections", "--gpu-memory-utilization", "--templates-dir"),
    ):
        assert option in done.stdout


def test_evaluate_py_says_what_is_wrong_in_one_line(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    (tmp_path / "w" / "evaluation" / "settings.json").unlink()
    done = evaluate(tmp_path / "w")
    assert done.returncode == 2
    assert done.stderr.startswith("evaluate.py: ")
    assert "settings.json: 1 fault" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_option_is_refused_with_a_hint(
    tmp_path: Path, model: ModelSpec, data: DataDir
) -> None:
    lay(tmp_path / "w", model, data)
    done = evaluate(tmp_path / "w", "--max-tokens", "none")
    assert done.returncode == 2
    assert "'none' is not a valid integer" in done.stderr


def test_the_shipped_files_say_where_they_come_from() -> None:
    folder = data_dir() / "ptb_core" if (data_dir() / "ptb_core").is_dir() else data_dir().parent
    files = folder / "evaluation" / "harness_files"
    assert {path.name for path in files.iterdir() if path.is_file()} == {"evaluate.py", "timer.sh"}
