"""What lies in a submission's folder: listed, named and copied without following anything."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ptb_core.errors import CheckpointError
from ptb_core.sandboxing import SealedFile

MAX_ENTRIES = 10_000
"""Most entries that a submission's folder may have."""

TOKENIZER_FILES = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
)
ALLOWED_FILES = (
    "config.json",
    "generation_config.json",
    *TOKENIZER_FILES,
    "chat_template.*",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""Data that is sealed beside the weights; a chat template is kept as evidence only."""

PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".msgpack", ".pickle", ".pkl", ".pt", ".pth")
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x1f\x8b")
_CHUNK = 1 << 20
_SPECIAL = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The top level of a submission's folder.

    Attributes:
        folder: The folder.
        files: Size of each regular file by name.
        notes: Subfolders that are left out.
    """

    folder: Path
    files: Mapping[str, int]
    notes: tuple[str, ...]

    def is_pickle(self, name: str) -> bool:
        """Tell whether a file is a pickle, by its name or its first bytes."""
        if name.endswith(PICKLE_SUFFIXES):
            return True
        with self.open(name) as stream:
            return stream.read(4).startswith(_PICKLE_STARTS)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """Return at most ``limit_bytes`` + 1 bytes of a file."""
        with self.open(name) as stream:
            return stream.read(limit_bytes + 1)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a regular file; a link or special file that took its place is refused.

        Raises:
            CheckpointError: If it is no regular file, or may not be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        parent = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            descriptor = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
                raise
            raise CheckpointError(
                f"{self.folder.name}/{name} cannot be read: {error.strerror}"
            ) from error
        finally:
            os.close(parent)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CheckpointError(f"{self.folder.name}/{name} is no regular file")
            yield stream

    def copy(
        self,
        target: Path,
        weights: frozenset[str],
        expected: Mapping[str, SealedFile] | None,
        notes: list[str],
    ) -> dict[str, SealedFile]:
        """Copy weights and allowed data; note what is left out.

        Args:
            target: Existing folder.
            weights: Names of the files that are the weights.
            expected: The freeze's entries by name, or None.
            notes: Takes one line per file left out.

        Returns:
            What was copied, by name.

        Raises:
            CheckpointError: If a file differs from the freeze or cannot be read.
        """
        copied = {}
        for name in sorted(self.files):
            if name in weights or _is_allowed(name):
                copied[name] = self._copy(name, target / name, expected)
            elif not name.endswith(".safetensors"):
                notes.append(f"{name[:120]} left out: {_why_left_out(name)}")
        return copied

    def _copy(
        self, name: str, target: Path, expected: Mapping[str, SealedFile] | None
    ) -> SealedFile:
        digest = hashlib.sha256()
        size = 0
        with self.open(name) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                sink.write(chunk)
                size += len(chunk)
        copied = SealedFile(path=name, size=size, sha256=digest.hexdigest())
        if expected is not None and expected[name].sha256 != copied.sha256:
            raise CheckpointError(
                f"{self.folder.name}/{name} changed after the freeze: sha256 "
                f"{expected[name].sha256[:12] or '(none)'} then, {copied.sha256[:12]} now"
            )
        return copied


def list_submission(workspace: Path, name: str, absent: type[CheckpointError]) -> Contents:
    """List the top level of ``workspace/name``; subfolders are not entered.

    Raises:
        CheckpointError: As ``absent`` if there is no such entry; otherwise if it is no folder,
            cannot be listed, or holds links, special files or too many entries.
    """
    folder = workspace / name
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        raise absent(f"there is no {name} folder in the workspace: nothing was submitted") from None
    if not stat.S_ISDIR(mode):
        raise CheckpointError(f"{name} is {_kind(mode)}; expected a folder with the files in it")
    files: dict[str, int] = {}
    notes = []
    try:
        for entry in _bounded(folder):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                files[entry.name] = status.st_size
            elif stat.S_ISDIR(status.st_mode):
                notes.append(f"{entry.name[:120]}/ left out: subfolders are not loaded")
            else:
                raise CheckpointError(
                    f"{name}/{entry.name[:120]} is {_kind(status.st_mode)}; expected regular "
                    "files only: copy the content into the folder"
                )
    except PermissionError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror}") from error
    return Contents(folder=folder, files=dict(sorted(files.items())), notes=tuple(sorted(notes)))


def looks_pickled(path: Path) -> bool:
    """Tell whether a file starts like a pickle, a zip archive or gzip."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if path.suffix == ".safetensors":
        return False
    return start.startswith(_PICKLE_STARTS)


def is_tokenizer_file(name: str) -> bool:
    """Tell whether a file name belongs to a tokenizer."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in TOKENIZER_FILES)


def is_whole_tokenizer(names: Collection[str]) -> bool:
    """Tell whether files of these names hold a vocabulary, from which a tokenizer can be loaded."""
    return (
        "tokenizer.json" in names
        or any(name.endswith(".model") for name in names)
        or {"vocab.json", "merges.txt"} <= set(names)
    )


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bounded(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_ENTRIES:
                raise CheckpointError(
                    f"{folder.name} has more than {MAX_ENTRIES:,} entries; expected a checkpoint"
                )
            yield entry


def _kind(mode: int) -> str:
    return _SPECIAL.get(stat.S_IFMT(mode), "a special file" if not stat.S_ISREG(mode) else "a file")


def _is_allowed(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ALLOWED_FILES)


def _why_left_out(name: str) -> str:
    if name.endswith(PICKLE_SUFFIXES):
        return "pickles are never loaded"
    if name.endswith(".py"):
        return "code is never run"
    return "not a part of a checkpoint"
