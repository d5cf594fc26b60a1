"""Options that all commands share which evaluate checkpoints outside a run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptb_core.evaluation.protocol import PROTOCOLS, STRICT
from ptb_core.specs import JsonValue

if TYPE_CHECKING:
    from ptb_core.catalogue import Catalogue
    from ptb_core.evaluation.job import JobOptions
    from ptb_core.specs import ProtocolSpec

SAMPLING = ("seed", "temperature", "top_p", "top_k")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What the command line says; names as the options'."""

    protocol: str
    limit: int | None
    max_tokens: int | None
    seed: int | None
    seeds: tuple[int, ...]
    temperature: float | None
    top_p: float | None
    top_k: int | None
    engine: str | None
    setting: tuple[str, ...]
    sandbox: str | None
    sandbox_setting: tuple[str, ...]
    gpus: str | None
    grader_model: str | None
    grader_url: str | None
    grader_key_env: str | None
    grader_prompt: Path | None
    grader_usd: float | None
    mirror: Path | None

    def job_options(self, catalogue: Catalogue) -> JobOptions:
        """Return them as an evaluation takes them.

        Raises:
            UsageError: If they make no sense together.
        """
        from ptb_core.evaluation.job import DEFAULT_ENGINE, DEFAULT_SANDBOX, JobOptions
        from ptb_core.evaluation.runners import GraderOptions

        return JobOptions(
            protocol=self.protocol_spec(catalogue),
            engine=self.engine or DEFAULT_ENGINE,
            settings=read_settings(self.setting, "--setting"),
            sandbox=self.sandbox or DEFAULT_SANDBOX,
            sandbox_settings=read_settings(self.sandbox_setting, "--sandbox-setting"),
            devices=_devices(self.gpus),
            grader=GraderOptions(
                model=self.grader_model,
                base_url=self.grader_url,
                api_key_env=self.grader_key_env,
                prompt=self.grader_prompt,
                budget_usd=self.grader_usd,
            ),
            mirror=self.mirror,
        )

    @property
    def changes(self) -> tuple[str, ...]:
        """The options given that say how a checkpoint is asked, served and scored."""
        free = {"gpus", "mirror"}
        usual = {"protocol": STRICT.name}
        return tuple(
            f"--{name.replace('_', '-')}"
            for name in self.__dataclass_fields__
            if name not in free and getattr(self, name) not in (None, (), usual.get(name))
        )

    def protocol_spec(self, catalogue: Catalogue) -> ProtocolSpec:
        """Return the protocol with its changes; raises UsageError like a plan would."""
        from ptb_core.errors import InputFileError
        from ptb_core.plan.check import Checker
        from ptb_core.plan.read import read_protocol

        named = {key: getattr(self, key) for key in SAMPLING}
        sampling = {key: value for key, value in named.items() if value is not None}
        data: dict[str, JsonValue] = {"base": self.protocol}
        given = {
            "sampling": sampling,
            "seeds": list(self.seeds),
            "max_tokens": self.max_tokens,
            "limit": self.limit,
        }
        data |= {key: value for key, value in given.items() if value}
        protocol = read_protocol(data)
        checker = Checker(catalogue, Path.cwd())
        checker.protocol(data, protocol)
        if checker.faults:
            raise InputFileError("the protocol that the options ask for", tuple(checker.faults))
        return protocol


def evaluation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which is given them as ``options``."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        own = {name: values.pop(name) for name in EvaluationOptions.__dataclass_fields__}
        own["seeds"] = _seeds(own["seeds"])
        command(**values, options=EvaluationOptions(**own))

    decorated: Callable[..., None] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option("--limit", type=click.IntRange(min=1), help="Samples to take; all by default."),
    click.option(
        "--engine", metavar="NAME", help="What serves the checkpoint; transformers by default."
    ),
    click.option(
        "--protocol",
        type=click.Choice(list(PROTOCOLS)),
        default=STRICT.name,
        show_default=True,
        help="paper-v1 asks and scores as published, strict reproducibly and repaired.",
    ),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer in tokens."),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of seeded requests."),
    click.option("--seeds", metavar="N,N,...", help="Evaluate once per seed and average."),
    click.option(
        "--temperature", type=click.FloatRange(min=0), help="Of seeded requests; 0 is greedy."
    ),
    click.option(
        "--top-p", type=click.FloatRange(0, 1, min_open=True), help="Nucleus of seeded requests."
    ),
    click.option(
        "--top-k", type=click.IntRange(min=0), help="Candidates of seeded requests; 0 means all."
    ),
    click.option(
        "--setting", multiple=True, metavar="KEY=VALUE", help="Of the engine; repeatable."
    ),
    click.option("--sandbox", metavar="NAME", help="Where it is served; local by default."),
    click.option(
        "--sandbox-setting", multiple=True, metavar="KEY=VALUE", help="Of the sandbox; repeatable."
    ),
    click.option("--gpus", metavar="ID,ID,...", help="GPUs to use, or none; all by default."),
    click.option("--grader-model", metavar="NAME", help="The grader, for tasks that need one."),
    click.option("--grader-url", metavar="URL", help="Its OpenAI-compatible API, with version."),
    click.option("--grader-key-env", metavar="NAME", help="Variable that holds its key, or none."),
    click.option(
        "--grader-prompt",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="File with another wording for it.",
    ),
    click.option("--grader-usd", type=click.FloatRange(min=0), help="Most that it may cost."),
    click.option(
        "--mirror",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Folder with local copies of data and weights; also PTB_MIRROR.",
    ),
)


def read_settings(given: Sequence[str], option: str) -> Mapping[str, JsonValue]:
    """Return ``KEY=VALUE`` texts as settings; a value that is JSON is taken as such.

    Raises:
        UsageError: If one has no ``=`` or a key comes twice.
    """
    from ptb_core.errors import UsageError

    settings: dict[str, JsonValue] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(f"{option} {text}: expected KEY=VALUE")
        if key in settings:
            raise UsageError(f"{option} {key} is given twice")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def _seeds(text: str | None) -> tuple[int, ...]:
    from ptb_core.errors import UsageError

    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--seeds {text}: expected whole numbers with commas between them")
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: a seed is given twice")
    return seeds


def _devices(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())
