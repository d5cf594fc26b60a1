"""Comparing two checkpoints tensor by tensor, streaming. Imported only when a judge runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ptb_core.api import (
    CheckpointError,
    StoredTensor,
    canonical_name,
    decode_floats,
    read_checkpoint,
)

Doubles: TypeAlias = NDArray[np.float64]

_STEP_ELEMENTS = 1 << 22
_VOCABULARY_TENSORS = (
    "embed_tokens.weight",
    "lm_head.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "embed_out.weight",
)
_OUTPUT = "lm_head.weight"
_INPUT = "embed_tokens.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorComparison:
    """One matrix of the base beside the submission's.

    Attributes:
        name: The tensor's name in the submission.
        file: File of the submission that holds it.
        parameters: Elements of the base's tensor, without those that are not finite numbers in
            the submission.
        correlation: Pearson correlation of the common elements that are finite, in [-1, 1].
        identical: True when all common elements are equal.
    """

    name: str
    file: str
    parameters: int
    correlation: float
    identical: bool


@dataclass(slots=True)
class Comparison:
    """A submission beside its base.

    Attributes:
        matrices: Tensors of two and more dimensions that were compared.
        others_identical: True when all tensors of one dimension are equal.
        missing: The base's tensors that the submission lacks.
        extra: The submission's tensors that the base lacks.
        reshaped: Tensors of another shape: (the submission's, the base's).
        unreadable: Tensors that hold no plain floating-point numbers.
        not_finite: Tensors with elements that are NaN or infinite, and how many they are. Such
            elements say nothing of where they come from: they are left out of every comparison.
        resized: Vocabulary tensors with another number of rows.
    """

    matrices: list[TensorComparison] = field(default_factory=list)
    others_identical: bool = True
    missing: list[StoredTensor] = field(default_factory=list)
    extra: list[StoredTensor] = field(default_factory=list)
    reshaped: list[tuple[StoredTensor, StoredTensor]] = field(default_factory=list)
    unreadable: list[StoredTensor] = field(default_factory=list)
    not_finite: list[tuple[StoredTensor, int]] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def share(self, related: float) -> float:
        """Return the share of matrix parameters in tensors that correlate enough, in [0, 1]."""
        good = sum(each.parameters for each in self.matrices if each.correlation >= related)
        lost = [*self.missing, *(base for _, base in self.reshaped)]
        total = sum(each.parameters for each in self.matrices)
        total += sum(tensor.parameters for tensor in lost if len(tensor.shape) > 1)
        return good / total if total else 0.0

    @property
    def nothing_finite(self) -> bool:
        """Whether all of the base's matrices are there and hold no finite number."""
        others = self.missing or self.reshaped or self.unreadable
        return bool(self.not_finite) and not others and not self.matrices

    @property
    def identical(self) -> bool:
        """Whether every tensor equals the base's."""
        unlike = self.missing or self.reshaped or self.unreadable or self.resized
        return (
            not unlike and self.others_identical and all(each.identical for each in self.matrices)
        )


def compare(submission: Path, base: Path, may_drop_components: bool) -> Comparison:
    """Compare two checkpoint folders.

    Args:
        submission: The sealed submission.
        base: The base model.
        may_drop_components: True when whole parts of the base may be left out.

    Raises:
        CheckpointError: If one of them cannot be read.
    """
    ours, theirs = _tensors(base), _tensors(submission)
    _share_tied(ours, theirs)
    result = Comparison()
    components = {name.split(".")[0] for name in theirs}
    for name, tensor in ours.items():
        other = theirs.get(name)
        if other is not None:
            _compare_tensor(tensor, other, result)
        elif not (may_drop_components and name.split(".")[0] not in components):
            result.missing.append(tensor)
    result.extra += [tensor for name, tensor in theirs.items() if name not in ours]
    return result


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for name, tensor in read_checkpoint(folder).items():
        if tensors.setdefault(canonical_name(name), tensor) is not tensor:
            raise CheckpointError(f"two tensors could be {canonical_name(name)}")
    return tensors


def _share_tied(ours: dict[str, StoredTensor], theirs: dict[str, StoredTensor]) -> None:
    """Let tied output embeddings be compared with untied ones."""
    for one, other in ((ours, theirs), (theirs, ours)):
        if _OUTPUT not in one and _OUTPUT in other and _INPUT in one:
            one[_OUTPUT] = one[_INPUT]


def _compare_tensor(base: StoredTensor, other: StoredTensor, result: Comparison) -> None:
    rows = _common_rows(base, other)
    if rows is None:
        result.reshaped.append((other, base))
        return
    if base.shape != other.shape:
        result.resized.append(f"{other.name} {list(base.shape)} -> {list(other.shape)}")
    try:
        sums = _sums(base, other, rows)
    except CheckpointError:
        result.unreadable.append(other)
        return
    if sums.not_finite:
        result.not_finite.append((other, sums.not_finite))
    correlation = _pearson(sums)
    if len(base.shape) < 2:
        result.others_identical = result.others_identical and sums.identical
    elif correlation is not None:
        result.matrices.append(
            TensorComparison(
                name=other.name,
                file=other.file.name,
                parameters=base.parameters - sums.not_finite,
                correlation=round(correlation, 4),
                identical=sums.identical,
            )
        )


def _common_rows(base: StoredTensor, other: StoredTensor) -> int | None:
    """Return the number of first-dimension rows to compare, or None for another shape."""
    if base.shape == other.shape:
        return base.shape[0] if base.shape else 1
    is_vocabulary = base.name.endswith(_VOCABULARY_TENSORS)
    if (
        is_vocabulary
        and len(base.shape) == len(other.shape) == 2
        and base.shape[1:] == other.shape[1:]
    ):
        return min(base.shape[0], other.shape[0])
    return None


@dataclass(slots=True)
class _Sums:
    """Sums over the common elements x of the base and y of the submission that are finite."""

    count: int = 0
    not_finite: int = 0
    identical: bool = True
    moments: Doubles = field(default_factory=lambda: np.zeros(5))
    """Of x, y, x², y² and xy."""

    def add(self, x: Doubles, y: Doubles) -> None:
        """Take in the next elements."""
        self.identical = self.identical and bool(np.array_equal(x, y))
        finite = np.isfinite(y)
        if not finite.all():
            x, y = x[finite], y[finite]
        self.count += len(y)
        self.not_finite += len(finite) - len(y)
        self.moments += [x.sum(), y.sum(), x @ x, y @ y, x @ y]


def _sums(base: StoredTensor, other: StoredTensor, rows: int) -> _Sums:
    """Read the first rows of two tensors, a piece at a time."""
    elements = rows * math.prod(base.shape[1:])
    sums = _Sums()
    with base.file.open("rb") as one, other.file.open("rb") as two:
        for start in range(0, elements, _STEP_ELEMENTS):
            count = min(_STEP_ELEMENTS, elements - start)
            with np.errstate(all="ignore"):
                sums.add(_numbers(one, base, start, count), _numbers(two, other, start, count))
    return sums


def _numbers(stream: BinaryIO, tensor: StoredTensor, start: int, count: int) -> Doubles:
    width = tensor.size // max(1, tensor.parameters)
    stream.seek(tensor.offset + start * width)
    return decode_floats(stream.read(count * width), tensor.dtype).astype(np.float64)


def _pearson(sums: _Sums) -> float | None:
    """Return the correlation; None where the base is constant or nothing is finite."""
    x, y, xx, yy, xy = sums.moments.tolist()
    count = max(1, sums.count)
    variance_x = xx - x * x / count
    variance_y = yy - y * y / count
    if not variance_x > 1e-12 * max(1.0, xx):
        return None
    if not math.isfinite(variance_y) or variance_y <= 0:
        return 0.0
    correlation = float(xy - x * y / count) / math.sqrt(variance_x * variance_y)
    return max(-1.0, min(1.0, correlation))
