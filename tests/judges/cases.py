"""Evidence for judge tests: real small files in a temporary workspace."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from ptb_core.api import (
    Condition,
    DevelopmentUse,
    Evidence,
    HarnessFile,
    Judge,
    TaskSpec,
    TestItem,
    Trace,
    Verdict,
)
from ptb_plugins.judges import ptb_register_judges
from tests.checkpoint_files import model_spec

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}\n"
EVALUATE = "import sys\n\nfrom ptb_core.evaluation.development import main\n\nsys.exit(main())\n"

SUBJECTS = ("Ada", "Bruno", "Carla", "Dora", "Enzo", "Fay", "Gus", "Hana", "Igor", "Jana")
VERBS = ("sold", "painted", "counted", "carried", "hid", "washed", "bought", "lost", "packed")
THINGS = ("lamps", "kites", "pears", "bells", "ropes", "stamps", "drums", "coats", "knives", "maps")
PLACES = ("harbour", "castle", "orchard", "museum", "village", "bakery", "station", "valley")


def judge_named(name: str) -> Judge:
    return next(judge for judge in ptb_register_judges() if judge.spec.name == name)


def question(rng: random.Random) -> str:
    """A made-up word problem of some fifty words, unlike any other drawn."""
    sentences = [
        f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.randint(11, 999)} {rng.choice(THINGS)} "
        f"near the {rng.choice(PLACES)} on day {rng.randint(100, 999)}."
        for _ in range(4)
    ]
    return " ".join([*sentences, f"How many {rng.choice(THINGS)} did everybody have on that day?"])


def questions(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [question(rng) for _ in range(count)]


def items(texts: Sequence[str], allowed: bool = False) -> tuple[TestItem, ...]:
    kind = "train" if allowed else "test"
    return tuple(
        TestItem(id=f"{kind}-{number:03d}", text=text, allowed=allowed)
        for number, text in enumerate(texts)
    )


@dataclass
class Case:
    """A workspace to put files into, and the evidence made of it."""

    root: Path
    test_items: tuple[TestItem, ...] = ()
    harness: list[HarnessFile] = field(default_factory=list)
    omitted: dict[str, str] = field(default_factory=dict)
    submission: Path | None = None
    development: DevelopmentUse | None = None
    architectures: tuple[str, ...] = ()

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def base(self) -> Path:
        return self.root / "base"

    def put(self, path: str, content: str | bytes) -> Path:
        target = self.workspace / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def lay(self, path: str, content: str | bytes, role: str, text: str | None = None) -> Path:
        target = self.put(path, content)
        digest = sha256(target.read_bytes()).hexdigest()
        self.harness.append(HarnessFile(path=path, sha256=digest, role=role, text=text))  # type: ignore[arg-type]
        return target

    def evidence(self) -> Evidence:
        return Evidence(
            task=TaskSpec(
                name="problems",
                title="Problems",
                description="Word problems.",
                metric="accuracy",
                n_samples=100,
                max_tokens=100,
            ),
            model=model_spec(*self.architectures),
            condition=Condition(hours=1, gpus=0),
            workspace=self.workspace,
            submission=self.submission,
            base_model=self.base,
            harness=tuple(self.harness),
            test_items=self.test_items,
            trace=Trace(events=()),
            declared_template=TEMPLATE,
            omitted=self.omitted,
            development=self.development,
        )

    def judge(self, name: str, settings: Mapping[str, object] | None = None) -> Verdict:
        return judge_named(name).judge(self.evidence(), settings or {})
