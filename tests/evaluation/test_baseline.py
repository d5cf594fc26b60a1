"""ptb baseline: what is measured, how it is asked, and the file that plans may declare."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_server import chat_reply
from standing_alone import NoSandbox, ScriptedEngine, question_of, right_for, rows

from ptb_core.atomic import write_bytes
from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.data import data_dir
from ptb_core.evaluation import baseline
from ptb_core.evaluation.few_shot import few_shot_facts, few_shot_protocol, few_shot_task
from ptb_core.evaluation.protocol import PAPER_V1, STRICT
from ptb_core.fetch import ensure_data
from ptb_core.schemas import faults, load_json

Ptb = Callable[..., tuple[int, str, str]]
FOUR = ("baseline", "--task", "errands", "--model", "tiny-qwen3", "--limit", "4", "--out", "b.json")
WORDING = hashlib.sha256(b"A wording.").hexdigest()


def sets(path: str = "b.json") -> Mapping[str, Any]:
    content = load_json(Path(path))
    assert faults(content, "baseline") == ()
    return {one["name"]: one for one in content["sets"]}


def test_a_base_score_is_measured_into_a_file_with_how_it_was(ptb: Ptb, answering: Any) -> None:
    with answering(right_for(3)):
        code, out, err = ptb(*FOUR)
    assert (code, out) == (
        0,
        "zero-shot  tiny-qwen3  errands  75.00 ± 25.00 % (repaired scoring, 4 samples)\n",
    )
    assert "1 of 1 baselines measured: b.json\n" in err
    (found,) = sets().values()
    assert (found["name"], found["protocol"]) == ("base-zero-shot", "strict")
    assert found["scores"] == {"tiny-qwen3": {"errands": 0.75}}
    how = found["measurements"]["tiny-qwen3"]["errands"]
    assert how["scores"]["published"] == {"value": 0.75, "stderr": 0.25, "n": 4}
    assert (how["protocol"]["limit"], how["engine"]["name"], how["max_tokens"]) == (
        4,
        "transformers",
        64,
    )
    assert how["checkpoint_revision"].startswith("sha256:")
    assert set(how["data"]) == {"test", "train"}


def test_few_shot_shows_train_rows_samples_and_averages_without_chat_tokens(
    ptb: Ptb, answering: Any, scripted_engine: ScriptedEngine
) -> None:
    with answering(right_for(4)) as server:
        code, out, _ = ptb(*FOUR, "--kind", "few-shot")
    assert code == 0
    assert out.startswith("few-shot   tiny-qwen3  errands  100.00 ± 0.00 %")
    how = sets()["base-few-shot"]["measurements"]["tiny-qwen3"]["errands"]
    assert how["protocol"]["name"] == "few-shot"
    assert how["protocol"]["seeds"] == list(range(10))
    assert len(server.bodies) == 4 * 10
    first = server.bodies[0]
    assert (first["temperature"], first["top_p"], first["top_k"]) == (0.6, 0.95, 20)
    system, user = first["messages"]
    train = (data_dir() / "embedded" / "data" / "errands" / "train.jsonl").read_text("utf-8")
    shown = [json.loads(line) for line in train.splitlines()[:3]]
    assert system["role"] == "system"
    assert system["content"] == "\n\n".join(
        f"{row['question']}\nEnd with a line ANSWER: value.\n\nANSWER: {row['answer']}"
        for row in shown
    )
    assert user["role"] == "user"
    (served,) = scripted_engine.served
    assert Path(served.chat_template).name == "plain.jinja"


def test_the_plain_template_holds_the_words_and_no_token() -> None:
    from jinja2 import Environment

    text = (data_dir() / "registry" / "templates" / "plain.jinja").read_text("utf-8")
    messages = [{"role": "system", "content": "A\n"}, {"role": "user", "content": " b"}]
    shown = Environment(autoescape=False).from_string(text).render(messages=messages)
    assert shown == "A\n\n\n b\n\n"


def test_the_instruct_twin_is_measured_with_the_base_models_template(
    ptb: Ptb, answering: Any, scripted_engine: ScriptedEngine, tmp_path: Path, monkeypatch: Any
) -> None:
    mirror = tmp_path / "mirror"
    twin = mirror / "org" / "twin"
    twin.mkdir(parents=True)
    for source in (data_dir() / "embedded" / "models" / "tiny-qwen3").iterdir():
        (twin / source.name).write_bytes(source.read_bytes())
    (twin / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"], "twin": true}')
    model = load_catalogue().model("tiny-qwen3")
    twinned = replace(model, forbidden_twins=("org/twin",))
    monkeypatch.setattr(Catalogue, "model", lambda self, name: twinned)
    with answering(right_for(3)):
        code, _, err = ptb(*FOUR, "--kind", "instruct", "--mirror", mirror)
    assert code == 0, err
    (served,) = scripted_engine.served
    assert (served.checkpoint, served.chat_template) == (str(twin), model.chat_template)
    assert sets()["instruct"]["scores"] == {"tiny-qwen3": {"errands": 0.75}}


def test_what_cannot_be_measured_is_told_and_does_not_stop_the_rest(
    ptb: Ptb, answering: Any
) -> None:
    with answering(right_for(3)):
        code, out, err = ptb(*FOUR, "--kind", "instruct", "--kind", "zero-shot")
    assert code == 1
    assert out.startswith("zero-shot  tiny-qwen3  errands  75.00")
    assert (
        "instruct   tiny-qwen3  errands  not measured: tiny-qwen3 has no instruct twin: its "
        "manifest lists none under forbidden_twins\n"
    ) in err
    assert "1 of 2 baselines measured: b.json" in err


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("aime2025", "its three examples come from AIME 2024, which is no data of the task"),
        ("gpqamain", "which three examples were shown is not published, and all rows of its data"),
        ("arenahardwriting", "which three examples were shown is not published"),
        ("healthbench", "neither their number nor the examples are published"),
    ],
)
def test_a_task_without_a_few_shot_form_says_why(task: str, why: str) -> None:
    catalogue = load_catalogue()
    errands = catalogue.task("errands")
    named = type(errands)(replace(errands.spec, name=task))
    with pytest.raises(Exception, match=f"{task} has no few-shot form here: {why}"):
        few_shot_task(named, ensure_data(errands.spec), few_shot_facts())


def test_a_task_that_offers_no_examples_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    errands = load_catalogue().task("errands")
    monkeypatch.setattr(type(errands), "shots", lambda self, data: ())
    words = "errands has no few-shot form: the task offers no worked examples"
    with pytest.raises(Exception, match=words):
        few_shot_task(errands, ensure_data(errands.spec), few_shot_facts())


@pytest.mark.parametrize(
    ("task", "epochs"), [("gsm8k", 10), ("humaneval", 10), ("healthbench", 1), ("mine", 10)]
)
def test_few_shot_evaluations_are_averaged_as_often_as_published(task: str, epochs: int) -> None:
    found = few_shot_protocol(PAPER_V1, task, few_shot_facts())
    assert (found.requests, found.scoring) == ("seeded", "published")
    assert found.seeds == tuple(range(epochs))
    own = few_shot_protocol(replace(STRICT, seeds=(7,), limit=5), task, few_shot_facts())
    assert (own.seeds, own.limit, own.scoring) == ((7,), 5, "repaired")


@pytest.mark.parametrize("task", ["gsm8k", "humaneval", "bfcl"])
def test_tasks_whose_requests_are_their_few_shot_form_are_asked_as_they_are(task: str) -> None:
    errands = load_catalogue().task("errands")
    named = type(errands)(replace(errands.spec, name=task))
    assert few_shot_task(named, ensure_data(errands.spec), few_shot_facts()) is named


# The file --------------------------------------------------------------------------------------


def test_a_file_grows_and_a_score_that_is_measured_again_takes_the_old_ones_place(
    ptb: Ptb, answering: Any
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
        ptb(*FOUR, "--kind", "few-shot")
    shutil.rmtree("ptb-evaluations")
    with answering(right_for(4)):
        assert ptb(*FOUR)[0] == 0
    found = sets()
    assert sorted(found) == ["base-few-shot", "base-zero-shot"]
    assert found["base-zero-shot"]["scores"] == {"tiny-qwen3": {"errands": 1.0}}


STRICT_FOUR = "under the protocol strict: seeded requests, repaired scoring, limit: 4 samples"


@pytest.mark.parametrize(
    ("options", "now"),
    [
        (
            ["--protocol", "paper-v1"],
            "under paper-v1: published requests, published scoring, limit: 4 samples",
        ),
        (
            ["--limit", "5"],
            "under strict: seeded requests, repaired scoring, limit: 5 samples",
        ),
        (
            ["--max-tokens", "32"],
            "under strict: seeded requests, repaired scoring, max tokens 32, limit: 4 samples",
        ),
        (
            ["--seeds", "7"],
            "under strict: seeded requests, repaired scoring, mean of seeds 7, limit: 4 samples",
        ),
    ],
)
def test_a_set_takes_no_scores_of_another_protocol(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, options: list[str], now: str
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    before, opened = Path("b.json").read_bytes(), len(sandbox.opened)
    code, _, err = ptb(*FOUR, "--kind", "instruct", "--kind", "zero-shot", *options)
    assert (code, err) == (
        2,
        "ptb: b.json: in its set base-zero-shot, tiny-qwen3 on errands was measured "
        f"{STRICT_FOUR}; now it would be {now}. Give the options of then, or name another file "
        "with --out\n",
    )
    assert (Path("b.json").read_bytes(), len(sandbox.opened)) == (before, opened)


def test_a_set_that_became_one_of_another_protocol_meanwhile_takes_no_score(
    ptb: Ptb, answering: Any
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    shutil.rmtree("ptb-evaluations")
    content = load_json(Path("b.json"))
    content["sets"][0]["protocol"] = "paper-v1"
    meanwhile = json.dumps(content)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        Path("b.json").write_text(meanwhile, "utf-8")
        return right_for(4)(body)

    with answering(answer):
        code, _, err = ptb(*FOUR)
    assert code == 1
    assert (
        "measured, but not added: b.json: its set base-zero-shot was measured under paper-v1, not "
        "strict; name another file with --out; the same command adds it"
    ) in err
    assert Path("b.json").read_text("utf-8") == meanwhile


def test_a_set_takes_no_scores_of_another_engine(
    ptb: Ptb, answering: Any, sandbox: NoSandbox
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    opened = len(sandbox.opened)
    code, _, err = ptb(*FOUR, "--setting", "threads=3")
    assert code == 2
    assert (
        "tiny-qwen3 on errands was measured on the engine transformers: threads 1; now it would be "
        "on transformers: threads 3. Give the options of then"
    ) in err
    assert len(sandbox.opened) == opened


def test_few_shot_scores_of_two_scorings_are_no_set(ptb: Ptb, answering: Any) -> None:
    with answering(right_for(3)):
        ptb(*FOUR, "--kind", "few-shot")
    code, _, err = ptb(*FOUR, "--kind", "few-shot", "--protocol", "paper-v1")
    assert code == 2
    assert "under the protocol few-shot: seeded requests, repaired scoring, " in err
    assert "now it would be under few-shot: seeded requests, published scoring, " in err


@pytest.mark.parametrize(
    ("options", "now"),
    [
        (["--grader-model", "other"], "other"),
        (
            ["--grader-prompt", "w.txt"],
            "gpt-5-mini with a wording of the user's for healthbench, sha256 " + WORDING[:12],
        ),
    ],
)
def test_a_set_takes_no_scores_of_another_grader(
    ptb: Ptb, answering: Any, sandbox: NoSandbox, options: list[str], now: str
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    content = load_json(Path("b.json"))
    (one,) = content["sets"]
    for held in (one["scores"], one["measurements"]):
        held["tiny-qwen3"]["healthbench"] = held["tiny-qwen3"].pop("errands")
    how = one["measurements"]["tiny-qwen3"]["healthbench"]
    how["grader"] = {"model": "gpt-5-mini", "prompts": {}}
    Path("b.json").write_text(json.dumps(content), "utf-8")
    Path("w.txt").write_text("A wording.", "utf-8")
    opened = len(sandbox.opened)
    graded = ("baseline", "--task", "healthbench", *FOUR[3:])
    code, _, err = ptb(*graded, *options)
    assert code == 2
    assert (
        f"tiny-qwen3 on healthbench was measured by the grader gpt-5-mini; now it would be by {now}"
        ". Give the options of then"
    ) in err
    assert len(sandbox.opened) == opened
    with answering(right_for(3)):
        assert ptb(*FOUR)[0] == 0  # what needs no grader may join them


@pytest.mark.parametrize(
    ("out", "reason"), [("a-file/b.json", "Not a directory"), ("/proc/b.json", "")]
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    ptb: Ptb, sandbox: NoSandbox, out: str, reason: str
) -> None:
    Path("a-file").touch()
    code, _, err = ptb(*FOUR[:-1], out)
    assert code == 2
    assert err.startswith(f"ptb: --out {out} cannot be written ({reason}")
    assert err.endswith("); name a file in a folder that you may write to\n")
    assert sandbox.opened == []


def test_a_missing_folder_of_the_file_is_made(ptb: Ptb, answering: Any) -> None:
    with answering(right_for(3)):
        code, _, _ = ptb(*FOUR[:-1], "new/folder/b.json")
    assert code == 0
    assert "base-zero-shot" in sets("new/folder/b.json")
    assert [path.name for path in Path("new/folder").iterdir()] == ["b.json"]


def test_what_cannot_be_added_is_told_and_does_not_stop_the_rest(
    ptb: Ptb, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        if b"base-few-shot" not in content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_bytes(path, content)

    monkeypatch.setattr(baseline, "write_bytes", full)
    with answering(right_for(3)):
        code, out, err = ptb(*FOUR, "--kind", "zero-shot", "--kind", "few-shot")
    assert code == 1
    assert out.startswith("few-shot   tiny-qwen3  errands  75.00")
    assert (
        "zero-shot  tiny-qwen3  errands  measured, but not added: b.json: No space left on device; "
        "the same command adds it without measuring again\n"
    ) in err
    assert "1 of 2 baselines measured: b.json" in err
    assert list(sets()) == ["base-few-shot"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "b.json: 4 faults"),
        (
            (data_dir() / "registry" / "baselines" / "published.json").read_text("utf-8"),
            "b.json holds scores that `ptb baseline` did not measure; name another file with --out",
        ),
    ],
)
def test_a_file_that_cannot_take_scores_is_told_before_anything_is_measured(
    ptb: Ptb, sandbox: NoSandbox, content: str, words: str
) -> None:
    Path("b.json").write_text(content, "utf-8")
    code, _, err = ptb(*FOUR)
    assert code == 2
    assert words in err
    assert sandbox.opened == []
    assert Path("b.json").read_text("utf-8") == content


def test_a_file_name_that_no_baselines_can_have_is_told_first(ptb: Ptb, sandbox: NoSandbox) -> None:
    code, _, err = ptb(*FOUR[:-1], "My File.json")
    assert code == 2
    assert '$.name: found "My File"' in err
    assert sandbox.opened == []


# Plans -----------------------------------------------------------------------------------------

PLAN = {
    "name": "small",
    "tasks": ["errands"],
    "models": ["tiny-qwen3"],
    "agents": [{"name": "null", "scaffold": "null"}],
    "condition": {"hours": 0.1, "gpus": 0},
    "sandbox": {"name": "local"},
    "engine": {"name": "transformers"},
    "judges": [{"name": "lineage"}],
    "protocol": {"base": "strict", "limit": 4},
}


def write_plan(**changes: Any) -> None:
    Path("plan.json").write_text(json.dumps({**PLAN, **changes}), "utf-8")


@pytest.fixture
def plain_sandbox(sandbox: NoSandbox, scripted_engine: ScriptedEngine) -> NoSandbox:
    """The plan's sandbox must be able to play an agent's role, its engine to take its settings."""
    catalogue = load_catalogue()
    sandbox.spec = catalogue.spec("sandbox", "local")  # type: ignore[assignment]
    scripted_engine.spec = catalogue.spec("engine", "transformers")  # type: ignore[assignment]
    return sandbox


def test_a_plan_says_what_is_measured_and_takes_the_scores_instead_of_its_own(
    ptb: Ptb, answering: Any, plain_sandbox: NoSandbox
) -> None:
    write_plan()
    with answering(right_for(3)):
        code, out, err = ptb("baseline", "plan.json", "--out", "b.json")
    assert code == 0, err
    assert "75.00 ± 25.00 % (repaired scoring, 4 samples)" in out
    write_plan(baselines="b.json")
    code, out, err = ptb("validate", "plan.json")
    assert code == 0, err
    assert "1 agent cells + 0 base cells" in out


def test_options_beside_a_plan_are_refused(ptb: Ptb) -> None:
    write_plan()
    code, _, err = ptb(
        "baseline", "plan.json", "--task", "errands", "--protocol", "paper-v1", "--setting", "a=1",
        "--out", "b.json",
    )  # fmt: skip
    assert code == 2
    assert "the plan says what is measured and how; leave out --task, --protocol, --setting" in err


def test_without_a_plan_task_and_model_are_needed(ptb: Ptb) -> None:
    code, _, err = ptb("baseline", "--task", "errands", "--out", "b.json")
    assert code == 2
    assert "name a plan, or at least one --task and one --model" in err


def test_few_shot_sampling_cannot_be_changed(ptb: Ptb) -> None:
    code, _, err = ptb(*FOUR, "--kind", "few-shot", "--temperature", "0", "--top-k", "5")
    assert code == 2
    assert (
        "few-shot baselines are sampled as registry/baselines/few-shot.json says; leave out "
        "--temperature, --top-k"
    ) in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "found a base score of tiny-qwen3 on errands under another protocol or limit; "),
        (
            {
                "protocol": {"base": "strict", "limit": 4},
                "engine": {"name": "transformers", "settings": {"threads": 3}},
            },
            "found a base score of tiny-qwen3 on errands on another engine or other settings of it",
        ),
        (
            {"models": ["smollm2-135m"]},
            "found no measured base score of smollm2-135m on errands; expected scores of every "
            "task and model under the plan's protocol and engine; `ptb baseline PLAN --out FILE` "
            "measures them",
        ),
        (
            {"baselines": "none.json"},
            "none.json: there is no such file; expected a file that `ptb baseline` wrote",
        ),
        (
            {"baselines": "someones"},
            '$.baselines: found "someones"; expected measured, published, or NAME.json: Base ',
        ),
    ],
)
def test_a_plan_whose_file_of_baselines_does_not_fit_is_wrong(
    ptb: Ptb, answering: Any, plain_sandbox: NoSandbox, changes: dict[str, Any], words: str
) -> None:
    with answering(right_for(3)):
        ptb(*FOUR)
    write_plan(**{"baselines": "b.json", "protocol": "strict", **changes})
    code, _, err = ptb("validate", "plan.json")
    assert code == 2
    assert "$.baselines: found " in err
    assert words in err


def test_an_incomplete_evaluation_is_no_baseline(ptb: Ptb, answering: Any) -> None:
    def refuses_one(body: dict[str, Any]) -> tuple[int, Any]:
        if question_of(body) == rows()[2]["question"]:
            return 403, {"error": {"message": "not this one"}}
        return 200, chat_reply("x")

    with answering(refuses_one):
        code, out, err = ptb(*FOUR)
    assert (code, out) == (1, "")
    assert (
        "zero-shot  tiny-qwen3  errands  not measured: the evaluation is incomplete: 1 of " in err
    )
    assert not Path("b.json").exists()
