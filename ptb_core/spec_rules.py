"""Rules of specs that a JSON schema cannot say; cheap enough for every start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ptb_core.data import data_dir, root_of
from ptb_core.errors import Fault
from ptb_core.settings import check_settings
from ptb_core.specs import (
    EngineSpec,
    ExecutorSpec,
    FileSource,
    JudgeSpec,
    ModelSpec,
    SandboxSpec,
    ScaffoldSpec,
    Setting,
    TaskSpec,
)

NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
"""What a component may be called: kebab-case, dots allowed as in version numbers."""

ComponentSpec = (
    TaskSpec | ModelSpec | ScaffoldSpec | SandboxSpec | EngineSpec | JudgeSpec | ExecutorSpec
)


def rule_faults(spec: ComponentSpec, manifest: Path | None) -> tuple[Fault, ...]:
    """Return every rule that a spec breaks.

    Args:
        spec: The spec; a model's chat template is absolute already.
        manifest: The file it was read from, if any.
    """
    return tuple(_rule_faults(spec, manifest))


def _rule_faults(spec: ComponentSpec, manifest: Path | None) -> Iterator[Fault]:
    yield from _name_faults(spec.name, manifest)
    if isinstance(spec, TaskSpec):
        yield from _repeated_names("$.data", [file.name for file in spec.data])
        yield from _repeated_names("$.prompts", [prompt.name for prompt in spec.prompts])
        for index, file in enumerate(spec.data):
            yield from _source_faults(file.source, f"$.data[{index}].source", manifest)
    elif isinstance(spec, ModelSpec):
        yield from _source_faults(spec.source, "$.source", manifest)
        yield from _template_faults(spec)
    else:
        yield from _setting_faults(spec.settings)


def _name_faults(name: str, manifest: Path | None) -> Iterator[Fault]:
    if not NAME.fullmatch(name):
        words = "lower-case letters and digits, in words joined by '-' or '.'"
        yield Fault(path="$.name", found=repr(name), expected=words)
    if manifest is not None and manifest.stem != name:
        expected = f"{manifest.stem!r}, the manifest's file name"
        yield Fault(path="$.name", found=repr(name), expected=expected)


def _repeated_names(path: str, names: list[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Fault(
                path=f"{path}[{index}].name", found=f"{name!r} again", expected="another name"
            )


def _source_faults(source: FileSource, path: str, manifest: Path | None) -> Iterator[Fault]:
    ways = ("packaged", "hub", "wheel", "url")
    given = [way for way in ways if getattr(source, way) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        yield Fault(path=path, found=found, expected=f"exactly one of {', '.join(ways)}")
    if source.packaged is not None:
        yield from _packaged_faults(source.packaged, f"{path}.packaged", manifest)
    if source.wheel is not None and source.path is None:
        expected = "the file's path in the wheel"
        yield Fault(path=f"{path}.path", found="nothing", expected=expected)
    if (source.wheel or source.url) and source.sha256 is None:
        expected = "the file's sha256, which is checked on download"
        yield Fault(path=f"{path}.sha256", found="nothing", expected=expected)


def _packaged_faults(packaged: str, path: str, manifest: Path | None) -> Iterator[Fault]:
    """Check the path of a file that a distribution brings along.

    A spec that is built in code may name any place. Whether a shipped file is there is asked when
    it is needed: every start checks this.
    """
    if manifest is None and Path(packaged).is_absolute():
        return
    root = data_dir() if manifest is None else root_of(manifest)
    whole = root / packaged
    if ".." in whole.parts or not whole.is_relative_to(root):
        shipped = root == data_dir()
        place = "the shipped data folder" if shipped else f"the manifest's folder {root}"
        yield Fault(path=path, found=packaged, expected=f"a path below {place}")
    elif root != data_dir() and not whole.exists():
        found = f"{whole}, which does not exist"
        yield Fault(path=path, found=found, expected="a file or folder beside the manifest")


def _template_faults(spec: ModelSpec) -> Iterator[Fault]:
    template = Path(spec.chat_template)
    if not template.is_absolute():
        expected = "an absolute path, for a model that is described in code"
        yield Fault(path="$.chat_template", found=spec.chat_template, expected=expected)
    elif not template.is_file():
        found = f"{template}, which does not exist"
        yield Fault(path="$.chat_template", found=found, expected="a Jinja file")


def _setting_faults(settings: tuple[Setting, ...]) -> Iterator[Fault]:
    yield from _repeated_names("$.settings", [setting.name for setting in settings])
    for index, setting in enumerate(settings):
        if setting.default is None or setting.is_path:
            continue
        given = {setting.name: setting.default}
        checked = check_settings((setting,), given, f"$.settings[{index}]", Path())
        for fault in checked.faults:
            path = f"$.settings[{index}].default"
            yield Fault(path=path, found=fault.found, expected=fault.expected)
