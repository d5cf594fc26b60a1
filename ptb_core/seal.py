"""The seal: the submission is copied out of the agent's reach, checked, and refused with reason.

Trusted code on untrusted files. Nothing is unpickled, imported or executed; links are never
followed; every file is opened relative to its folder's descriptor and read once, streaming.

===============================================  ==============================================
what lies in ``final_model/``                    what happens
===============================================  ==============================================
no such folder                                   :class:`SubmissionAbsentError`
empty folder, links, FIFOs, devices, sockets     refused
no safetensors weights, or pickled ones only     refused
broken header, missing shard                     refused
no config.json, or one that asks for own code    refused
file changed, added or removed after the freeze  refused
LoRA adapter of the base                         merged into the base by us
pickles beside good weights, optimizer states,   left out, with a note
Python files, subfolders, anything unknown
no tokenizer                                     the base model's tokenizer, with a note
another architecture                             noted; judges decide
===============================================  ==============================================
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptb_core.adapters import CONFIG_FILE as ADAPTER_CONFIG
from ptb_core.adapters import WEIGHTS_FILE as ADAPTER_WEIGHTS
from ptb_core.adapters import merge_adapter, read_adapter_config
from ptb_core.atomic import sync_folder
from ptb_core.checkpoints import (
    INDEX_FILE,
    MAX_INDEX_BYTES,
    SINGLE_FILE,
    parse_json_object,
    read_checkpoint,
    read_json_object,
    read_tensors,
    weight_map_of,
)
from ptb_core.errors import CheckpointError, PtbError
from ptb_core.sandboxing import SealedFile
from ptb_core.seal_files import (
    Contents,
    is_tokenizer_file,
    is_whole_tokenizer,
    list_submission,
    looks_pickled,
    sha256_of,
)
from ptb_core.specs import JsonValue, ModelSpec

FOLDER = "final_model"
MAX_CONFIG_BYTES = 10_000_000
CONFIG_FILE = "config.json"
GENERATION_CONFIG = "generation_config.json"


class SubmissionAbsentError(CheckpointError):
    """There is no ``final_model`` at all: nothing was submitted, nothing was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSubmission:
    """A checkpoint out of the agent's reach.

    Attributes:
        path: The folder; a complete checkpoint whose files are read-only.
        files: Its files; paths are relative to ``path``.
        merged_adapter: True when the agent left a LoRA adapter and the weights are our merge.
        notes: What was left out, added or seen.
    """

    path: Path
    files: tuple[SealedFile, ...]
    merged_adapter: bool
    notes: tuple[str, ...]


def seal_submission(
    workspace: Path,
    target: Path,
    frozen: tuple[SealedFile, ...] | None,
    base_model: Path,
    model: ModelSpec,
) -> SealedSubmission:
    """Copy ``workspace/final_model`` to ``target`` and check every part of it.

    ``target`` is there whole or not at all; one that an earlier attempt left is replaced.

    Args:
        workspace: The workspace; nothing in it runs any more.
        target: Folder to make, on a file system with room for the weights.
        frozen: Hashes taken at the freeze (paths relative to the workspace), or None.
        base_model: Folder of the base model.
        model: The base model's spec.

    Raises:
        SubmissionAbsentError: If there is no ``final_model``.
        CheckpointError: If it is refused; the message says why.
        PtbError: If the copy could not be made for a reason that is not the agent's.
    """
    contents = list_submission(workspace, FOLDER, absent=SubmissionAbsentError)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        sealed = _seal(contents, partial, _expected(frozen, contents), base_model, model)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise PtbError(
            f"the submission could not be copied to {target}: {error.strerror or error}; "
            "this is no fault of the submission: free space or mend the disk and seal again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files, merged, notes = sealed
    return SealedSubmission(path=target, files=files, merged_adapter=merged, notes=notes)


def _seal(
    contents: Contents,
    folder: Path,
    expected: Mapping[str, SealedFile] | None,
    base_model: Path,
    model: ModelSpec,
) -> tuple[tuple[SealedFile, ...], bool, tuple[str, ...]]:
    """Fill ``folder``; return its files, whether an adapter was merged, and the notes."""
    if not contents.files:
        raise CheckpointError(f"{FOLDER} holds no file; expected config.json and safetensors")
    notes = list(contents.notes)
    weights = _choose_weights(contents, notes)
    copied = contents.copy(folder, weights, expected, notes)
    _refuse_pickled_copies(folder)
    merged = ADAPTER_WEIGHTS in weights
    if merged:
        notes.append(_merge(folder, base_model))
        copied = {}
    config = _checked_config(folder)
    notes += _check_weights(folder)
    notes += _architecture_notes(config, model)
    notes += _complete_tokenizer(folder, base_model)
    return _made_read_only(folder, copied), merged, tuple(notes)


def _expected(
    frozen: tuple[SealedFile, ...] | None, contents: Contents
) -> dict[str, SealedFile] | None:
    """Return the freeze's entries by file name, after comparing the list of files.

    Raises:
        CheckpointError: If a file came or went after the freeze.
    """
    if frozen is None:
        return None
    prefix = f"{FOLDER}/"
    names = {
        entry.path.removeprefix(prefix): entry for entry in frozen if entry.path.startswith(prefix)
    }
    expected = {name: entry for name, entry in names.items() if "/" not in name}
    present = set(contents.files)
    for word, changed in (
        ("added", present - expected.keys()),
        ("removed", expected.keys() - present),
    ):
        if changed:
            raise CheckpointError(
                f"{FOLDER} changed after the freeze: {word} {', '.join(sorted(changed)[:5])}"
            )
    return expected


def _choose_weights(contents: Contents, notes: list[str]) -> frozenset[str]:
    """Decide which safetensors files are the weights; the rest is left out with a note.

    Raises:
        CheckpointError: If there are none.
    """
    files = contents.files
    if CONFIG_FILE in files and SINGLE_FILE in files:
        chosen = frozenset({SINGLE_FILE})
    elif CONFIG_FILE in files and INDEX_FILE in files:
        shards = _shards(contents)
        chosen = frozenset(shards.values()) | {INDEX_FILE}
        if missing := sorted(chosen - files.keys()):
            raise CheckpointError(
                f"{FOLDER}/{INDEX_FILE} names shards that are missing: {', '.join(missing[:5])}"
            )
    elif ADAPTER_CONFIG in files and ADAPTER_WEIGHTS in files:
        chosen = frozenset({ADAPTER_CONFIG, ADAPTER_WEIGHTS})
    else:
        raise CheckpointError(_why_no_weights(contents))
    surplus = {name for name in files if name.endswith(".safetensors") or name == INDEX_FILE}
    surplus |= {ADAPTER_CONFIG} & files.keys()
    notes += [f"{name} left out: not the weights" for name in sorted(surplus - chosen)]
    return chosen


def _shards(contents: Contents) -> dict[str, str]:
    content = contents.read(INDEX_FILE, MAX_INDEX_BYTES)
    return weight_map_of(parse_json_object(content, INDEX_FILE, MAX_INDEX_BYTES))


def _why_no_weights(contents: Contents) -> str:
    files = contents.files
    pickled = sorted(name for name in files if contents.is_pickle(name))
    loose = sorted(name for name in files if name.endswith(".safetensors"))
    weights = {SINGLE_FILE, INDEX_FILE} & files.keys()
    if CONFIG_FILE not in files and weights:
        return f"{FOLDER} has no config.json; save it with the model's save_pretrained"
    if pickled and not loose:
        return (
            f"{FOLDER} holds pickled weights only ({', '.join(pickled[:3])}), which are never "
            "loaded; save them as safetensors"
        )
    if loose:
        return (
            f"{FOLDER} holds {', '.join(loose[:3])} but no {SINGLE_FILE}, {INDEX_FILE} or "
            f"adapter ({ADAPTER_CONFIG} with {ADAPTER_WEIGHTS}) that tells how to load it"
        )
    return f"{FOLDER} holds no safetensors weights; expected {SINGLE_FILE} or shards with an index"


def _refuse_pickled_copies(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if looks_pickled(path):
            raise CheckpointError(
                f"{FOLDER}/{path.name} is a pickle or archive under another name; "
                "expected plain data"
            )


def _merge(folder: Path, base_model: Path) -> str:
    """Replace an adapter by the merged weights; the base's config is used."""
    config = read_adapter_config((folder / ADAPTER_CONFIG).read_bytes())
    changed = merge_adapter(folder / ADAPTER_WEIGHTS, config, base_model, folder)
    (folder / ADAPTER_CONFIG).unlink()
    (folder / ADAPTER_WEIGHTS).unlink()
    shutil.copyfile(base_model / CONFIG_FILE, folder / CONFIG_FILE)
    if not (folder / GENERATION_CONFIG).exists() and (base_model / GENERATION_CONFIG).exists():
        shutil.copyfile(base_model / GENERATION_CONFIG, folder / GENERATION_CONFIG)
    return f"LoRA adapter merged into the plan's base model: {changed} tensors changed"


def _checked_config(folder: Path) -> dict[str, JsonValue]:
    """Read config.json, and refuse any configuration that asks for the submission's own code."""
    config = read_json_object(folder / CONFIG_FILE, MAX_CONFIG_BYTES)
    for path in sorted(folder.glob("*.json")):
        if path.name in (INDEX_FILE, "tokenizer.json", "vocab.json"):
            continue
        if _holds_auto_map(read_json_object(path, MAX_CONFIG_BYTES)):
            raise CheckpointError(
                f"{FOLDER}/{path.name} has an auto_map: the checkpoint wants its own code to be "
                "run; save it with the architecture of the base model"
            )
    return config


def _holds_auto_map(value: JsonValue) -> bool:
    """Tell whether ``auto_map`` is a key anywhere in a JSON value."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if "auto_map" in part:
                return True
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return False


def _check_weights(folder: Path) -> list[str]:
    """Check every header; return a note for tensors that the index does not mention."""
    tensors = read_checkpoint(folder)
    if not tensors:
        raise CheckpointError(f"{FOLDER} holds safetensors files without any tensor")
    stored = sum(len(read_tensors(path)) for path in folder.glob("*.safetensors"))
    if stored == len(tensors):
        return []
    return [f"{stored - len(tensors)} tensors lie in shards but not in {INDEX_FILE}"]


def _architecture_notes(config: Mapping[str, JsonValue], model: ModelSpec) -> list[str]:
    architectures = config.get("architectures")
    if (
        isinstance(architectures, list)
        and architectures[:1]
        and (architectures[0] in model.architectures)
    ):
        return []
    return [
        f"config.json declares the architectures {str(architectures)[:120]}; the base model's "
        f"are {', '.join(model.architectures)}"
    ]


def _complete_tokenizer(folder: Path, base_model: Path) -> list[str]:
    """Add the base model's tokenizer where the submission brings none that can be loaded."""
    names = {path.name for path in folder.iterdir()}
    whole = is_whole_tokenizer(names)
    if whole and "tokenizer_config.json" in names:
        return []
    added = []
    for source in sorted(base_model.iterdir()):
        if is_tokenizer_file(source.name) and source.is_file():
            if whole and source.name != "tokenizer_config.json":
                continue
            shutil.copyfile(source, folder / source.name)
            added.append(source.name)
    if not added:
        return ["no whole tokenizer in the submission, and none in the base model's folder"]
    return [f"tokenizer taken from the base model: {', '.join(added)}"]


def _made_read_only(folder: Path, copied: Mapping[str, SealedFile]) -> tuple[SealedFile, ...]:
    """Return all files of the folder; those of ours besides ``copied`` are hashed now."""
    files = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.chmod(0o444)
        files.append(copied.get(path.name) or _hashed(path))
    return tuple(files)


def _hashed(path: Path) -> SealedFile:
    return SealedFile(path=path.name, size=path.stat().st_size, sha256=sha256_of(path))
