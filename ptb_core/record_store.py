"""Records on disk: written whole or not at all, checked on the way in, readable for years.

Writing checks against ``schemas/record.schema.json``. Reading is strict about types and cheap;
the full schema check on reading is :func:`record_faults`, which ``ptb leaderboard --check`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from ptb_core.atomic import write_bytes
from ptb_core.errors import Fault, RecordError
from ptb_core.json_codec import encodable
from ptb_core.record_rules import record_contradictions
from ptb_core.records import SCHEMA_VERSION, Record
from ptb_core.specs import JsonValue

Upgrade: TypeAlias = Callable[[dict[str, JsonValue]], dict[str, JsonValue]]
"""Turns a record document of one schema version into the next version's form."""

UPGRADES: Mapping[int, Upgrade] = MappingProxyType({})
"""Upgrade from version N to N + 1, by N; empty while there is only version 1."""

REMEDY = "restore it from a copy, or move it away and run `ptb run` on the run folder again"


def write_record(path: Path, record: Record) -> None:
    r"""Write a record atomically and durably.

    Text that is no valid Unicode (file names that an agent made up) is kept with its stray
    surrogates spelt out as ``\udcff``, so that nothing an agent does can prevent its record.

    Args:
        path: The record's file; its folder must exist.
        record: What to write.

    Raises:
        RecordError: If the record breaks its schema, holds NaN or infinity, or cannot be written.
            A record that was there before is then untouched.
    """
    document = encodable(msgspec.to_builtins(record))
    broken = record_faults(document)
    faults = broken or record_contradictions(record)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        why = "breaks schemas/record.schema.json" if broken else "contradicts itself"
        raise RecordError(
            f"{path}: the record of cell {record.cell.id} was not written, because it {why}; "
            f"this is a defect of ptb or of a plugin:\n{listed}"
        )
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    try:
        write_bytes(path, encoded + b"\n")
    except OSError as error:
        raise RecordError(
            f"{path}: the record could not be written ({error.strerror}); what was there before "
            "is untouched. Mend the cause and run `ptb run` on the run folder again"
        ) from error


def read_record(path: Path) -> Record:
    """Read a record of this or an older schema version.

    Raises:
        RecordError: If the file cannot be read, is cut off or damaged, or is of a version that
            this program does not know.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: the record cannot be read ({error.strerror})") from error
    return parse_record(content, str(path))


def parse_record(
    content: bytes, file: str, *, upgrades: Mapping[int, Upgrade] = UPGRADES
) -> Record:
    """Return the record that a file's bytes hold.

    Args:
        content: The whole file.
        file: Its name, for messages.
        upgrades: How older versions become the present one.

    Raises:
        RecordError: As :func:`read_record`.
    """
    try:
        version = msgspec.json.decode(content, type=_Head).schema_version
        if version == SCHEMA_VERSION:
            record = msgspec.json.decode(content, type=Record)
        else:
            record = msgspec.convert(_upgraded(content, file, version, upgrades), type=Record)
    except msgspec.ValidationError as error:
        raise RecordError(
            f"{file}: not a valid record: found {error}; expected the form of "
            f"schemas/record.schema.json; {REMEDY}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(_damage(content, file, error)) from error
    wrong = record_contradictions(record)
    if wrong:
        listed = "; ".join(str(fault) for fault in wrong)
        raise RecordError(f"{file}: the record contradicts itself: {listed}; {REMEDY}")
    return record


def record_faults(document: JsonValue) -> tuple[Fault, ...]:
    """Return everything in which a record document breaks its schema.

    Args:
        document: A record as plain JSON values, such as ``msgspec.to_builtins(record)``; tuples
            count as arrays.
    """
    from ptb_core.schemas import faults

    document = encodable(document)
    return (*faults(document, "record"), *_not_finite(document, "$"))


class _Head(msgspec.Struct):
    schema_version: int


def _upgraded(
    content: bytes, file: str, version: int, upgrades: Mapping[int, Upgrade]
) -> dict[str, JsonValue]:
    oldest = min(upgrades, default=SCHEMA_VERSION)
    if not oldest <= version < SCHEMA_VERSION:
        raise RecordError(
            f"{file}: found record schema version {version}; this version of ptb reads "
            f"{oldest} to {SCHEMA_VERSION}; use the version of ptb that wrote it, or a newer one"
        )
    document: dict[str, JsonValue] = msgspec.json.decode(content)
    for step in range(version, SCHEMA_VERSION):
        document = upgrades[step](document)
    return document


def _damage(content: bytes, file: str, error: Exception) -> str:
    if not content.strip(b" \r\n\t\0"):
        return f"{file}: the record is empty ({len(content)} bytes); {REMEDY}"
    begun, ended = content.startswith(b"{"), content.rstrip().endswith(b"}")
    if "truncated" in str(error) or (begun and not ended):
        return f"{file}: the record is cut off after {len(content)} bytes; {REMEDY}"
    return f"{file}: the record is damaged, it is no JSON ({error}); {REMEDY}"


def _not_finite(value: JsonValue, path: str) -> Iterator[Fault]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Fault(path=path, found=str(value), expected="a finite number")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")
