"""The folder of an evaluation that stands alone, and who may write in it.

::

    evaluation.json    what is evaluated and how: the same command continues, another is refused
    completions.jsonl  answers as they arrive
    generated.json     exists once every answer is there
    checks.jsonl       what was found out about answers, as it arrives; for tasks that need it
    samples.jsonl      one line per sample, for `ptb samples`
    summary.json       the score and everything it depends on (schemas/evaluation.schema.json)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import msgspec

from ptb_core.atomic import is_temporary, sweep, write_json
from ptb_core.canonical import short_hash
from ptb_core.damage import read_stored
from ptb_core.errors import RecordError, UsageError
from ptb_core.evaluation.serving import LiveServer
from ptb_core.json_codec import encodable
from ptb_core.records import Evaluation
from ptb_core.sandboxing import SandboxFacts
from ptb_core.schemas import faults
from ptb_core.specs import ComponentChoice, JsonValue, ProtocolSpec

REMEDY = "remove the folder, or name another one with --output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is evaluated and how.

    Attributes:
        identity: Everything that an answer or a score depends on and a user can choose.
        schema_version: Version of this form.
    """

    identity: Mapping[str, JsonValue]
    schema_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Every answer is there.

    Attributes:
        completions_sha256: Digest of the log of completions.
        details: How the checkpoint was asked, and numbers.
        facts: What separated the checkpoint from the host.
        software: Versions that it answered under.
        machine: Where it answered.
        components: Where task, model, engine and sandbox came from then. These three are empty in
            a file from before they were kept.
        schema_version: Version of this form.
    """

    completions_sha256: str
    details: Mapping[str, JsonValue]
    facts: SandboxFacts
    software: Mapping[str, JsonValue] = field(default_factory=dict)
    machine: Mapping[str, JsonValue] = field(default_factory=dict)
    components: Mapping[str, JsonValue] = field(default_factory=dict)
    schema_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The result of an evaluation that stands alone, with everything that it depends on.

    Attributes:
        task: Name of the task.
        model: Name of the base model that gives family, template and context.
        checkpoint: What was evaluated: path, revision, origin, architectures.
        protocol: The protocol.
        engine: The engine with its settings.
        sandbox: The sandbox with its settings.
        facts: What separated the checkpoint from the host.
        evaluation: Scores both ways; no score unless it is complete.
        lock: Versions, digests and machine that the checkpoint answered under; other versions that
            scored it, if any.
        created_unix_s: When this was written.
        notes: What a reader must know besides.
        schema_version: Version of this form.
    """

    task: str
    model: str
    checkpoint: Mapping[str, JsonValue]
    protocol: ProtocolSpec
    engine: ComponentChoice
    sandbox: ComponentChoice
    facts: SandboxFacts
    evaluation: Evaluation
    lock: Mapping[str, JsonValue]
    created_unix_s: float
    notes: tuple[str, ...] = field(default=())
    schema_version: int = 1


class EvaluationFolder:
    """Paths and rules of one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.head = self.path / "evaluation.json"
        self.completions = self.path / "completions.jsonl"
        self.answered = self.path / "generated.json"
        self.checks = self.path / "checks.jsonl"
        self.samples = self.path / "samples.jsonl"
        self.summary = self.path / "summary.json"
        self.live = self.path / "live.json"

    @contextlib.contextmanager
    def claimed(self, identity: Mapping[str, JsonValue]) -> Iterator[None]:
        """Hold the folder for an evaluation; it is made, or continued.

        Args:
            identity: What is evaluated and how.

        Raises:
            UsageError: If it holds something else, cannot be written, or another process works in
                it.
            RecordError: If its head is damaged.
        """
        with contextlib.ExitStack() as held:
            try:
                self._require_free()
                self.path.mkdir(parents=True, exist_ok=True)
                self._hold(held.enter_context((self.path / ".lock").open("w")))
                sweep(self.path)
                self._require_same(identity)
                write_json(self.head, Head(identity=identity))
            except OSError as error:
                raise UsageError(
                    f"{self.path} cannot be written ({error.strerror or error}); name another "
                    "folder with --output"
                ) from error
            yield

    def read_answered(self) -> Answered | None:
        """Return how the checkpoint answered, or None while answers are missing."""
        return read_stored(self.answered, Answered, REMEDY)

    def read_summary(self) -> Summary | None:
        """Return the result, or None when there is none."""
        return read_stored(self.summary, Summary, REMEDY)

    def write_summary(self, summary: Summary) -> None:
        """Write the result.

        Raises:
            RecordError: If it breaks its schema, which is a defect of ptb or of a plugin.
        """
        document = json.loads(msgspec.json.encode(encodable(msgspec.to_builtins(summary))))
        found = faults(document, "evaluation")
        if found:
            listed = "\n".join(f"  {fault}" for fault in found)
            raise RecordError(
                f"{self.summary} was not written, because it breaks schemas/evaluation.schema.json;"
                f" this is a defect of ptb or of a plugin:\n{listed}"
            )
        write_json(self.summary, document)

    def read_live(self) -> LiveServer | None:
        """Return the server that a killed process left behind, if any."""
        return read_stored(self.live, LiveServer, REMEDY)

    def _hold(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{self.path}: another `ptb evaluate` is at work in this folder; wait for it, or "
                "name another folder with --output"
            ) from None

    def _require_free(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; name a folder with --output")
        names = {path.name for path in self.path.iterdir() if not is_temporary(path.name)}
        if names - {".lock"} and self.head.name not in names:
            raise UsageError(
                f"{self.path} is neither empty nor the folder of an evaluation (it has no "
                f"{self.head.name}); name another folder with --output"
            )

    def _require_same(self, identity: Mapping[str, JsonValue]) -> None:
        head = read_stored(self.head, Head, REMEDY)
        if head is None:
            return
        keys = sorted(
            key
            for key in {*head.identity, *identity}
            if short_hash(head.identity.get(key)) != short_hash(identity.get(key))
        )
        if keys:
            raise UsageError(
                f"{self.path} belongs to another evaluation: it differs in {', '.join(keys)}; "
                "name another folder with --output, or give the options that it was begun with"
            )
