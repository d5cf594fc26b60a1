"""``ptb new``: a complete distribution to begin a plugin with.

Templates lie in ``new_templates/``: ``shared/`` for every kind, one folder for what is a kind's
own. ``NAME.tmpl`` is filled in by :class:`string.Template`; ``NAME.copy`` names a file or folder
below the shipped data that is copied; anything else is copied as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from ptb_core.catalogue import Catalogue
from ptb_core.data import data_dir
from ptb_core.errors import UsageError
from ptb_core.lock import software
from ptb_core.manifests import FOLDERS
from ptb_core.plugins import MANIFEST_KINDS
from ptb_core.spec_rules import NAME
from ptb_core.specs import JsonValue, Kind

TEMPLATES = Path(__file__).with_name("new_templates")
MAX_NAME = 64
"""Longest name. Source: the schemas of all kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDistribution:
    """What is to be written.

    Attributes:
        kind: Kind of the component.
        name: Its name.
        parent: Folder that the distribution's folder is made in.
        manifest_only: True for a distribution without Python code.
    """

    kind: Kind
    name: str
    parent: Path
    manifest_only: bool = False

    @property
    def distribution(self) -> str:
        """Name of the distribution, and of its folder."""
        return f"ptb-{self.kind}-{self.name}".replace(".", "-")

    @property
    def package(self) -> str:
        """Name of the import package."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Name of the class: camel case that ends with the kind and begins with no digit."""
        kind = self.kind.capitalize()
        words = self.name.replace(".", "-").split("-")
        joined = "".join(word.capitalize() for word in words)
        if joined[0].isdigit():
            joined = f"{kind}{joined}"
        return joined if joined.endswith(kind) and joined != kind else f"{joined}{kind}"

    @property
    def folder(self) -> Path:
        """The distribution's folder."""
        return self.parent / self.distribution


def create(new: NewDistribution, catalogue: Catalogue) -> Path:
    """Write a distribution and return its folder.

    Args:
        new: What to write.
        catalogue: Everything that is installed: a name may be taken.

    Raises:
        UsageError: If the name cannot be used, the folder is there already or cannot be written,
            or the kind needs code; nothing is written then.
    """
    _check(new, catalogue)
    try:
        new.folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{new.folder} is there already and is left as it is; choose another name, or another "
            "folder with --dir"
        ) from error
    except OSError as error:
        raise UsageError(f"{new.folder} cannot be made: {error.strerror}") from error
    for target, content in _files(new):
        path = new.folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, "utf-8")
        elif content.is_dir():
            shutil.copytree(content, path, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(content, path)
    return new.folder


def next_commands(new: NewDistribution) -> tuple[str, ...]:
    """Return the three commands that an author types next."""
    return (
        f'cd {new.folder} && pip install -e ".[dev]"',
        f"ptb check {new.name}",
        "ptb run --plan plan.json",
    )


def _check(new: NewDistribution, catalogue: Catalogue) -> None:
    if not NAME.fullmatch(new.name) or len(new.name) > MAX_NAME:
        raise UsageError(
            f"{new.name!r} cannot be the name of a {new.kind}: expected at most {MAX_NAME} "
            "characters, lower-case letters and digits in words joined by '-' or '.', such as "
            "my-first or tiny-1.5b"
        )
    if new.manifest_only and new.kind not in MANIFEST_KINDS:
        raise UsageError(
            f"--manifest-only: a {new.kind} needs code; only a {' or a '.join(MANIFEST_KINDS)} can "
            "be described by a manifest alone"
        )
    if new.name in catalogue.names(new.kind):
        row = catalogue.row(new.kind, new.name)
        raise UsageError(
            f"there is a {new.kind} {new.name!r} already, brought by {row.distribution} "
            f"{row.version}, and two of one name disable each other; choose another name"
        )


def _files(new: NewDistribution) -> Iterator[tuple[str, str | Path]]:
    """Yield each file's place in the distribution, and its text or what it is a copy of."""
    values = _values(new)
    shared = TEMPLATES / "shared"
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", ".gitignore"):
        yield name, _filled(shared / f"{name}.tmpl", values)
    yield "plan.json", json.dumps(_plan(new, values), indent=2) + "\n"
    package = f"src/{new.package}"
    if not new.manifest_only:
        if new.kind != "model":
            yield f"{package}/__init__.py", _filled(shared / "hook.py.tmpl", values)
        yield f"{package}/py.typed", ""
        test = f"tests/test_{new.package.removeprefix('ptb_')}.py"
        yield test, _filled(shared / "test.py.tmpl", values)
    for name, content in _own_files(new, values):
        yield f"{package}/{name}", content


def _own_files(new: NewDistribution, values: Mapping[str, str]) -> Iterator[tuple[str, str | Path]]:
    """Yield what is the kind's own, places relative to the package."""
    places = {"manifest.json": f"{new.name}.json", "component.py": f"{new.kind}.py"}
    prefix = f"{FOLDERS[new.kind]}/" if new.manifest_only else ""
    for source in _sources(new):
        name = source.name.replace("NAME", new.name)
        if name == "about.md.tmpl" or (new.manifest_only and name.endswith(".py.tmpl")):
            continue
        if name.endswith(".tmpl"):
            stem = name.removesuffix(".tmpl")
            yield prefix + places.get(stem, stem), _filled(source, values)
        elif name.endswith(".copy"):
            original = data_dir() / source.read_text("utf-8").strip()
            yield prefix + name.removesuffix(".copy"), original
        else:
            yield prefix + name, source


def _sources(new: NewDistribution) -> list[Path]:
    """Return the kind's template files; those for manifests alone stand in for their namesakes."""
    found = {path.name: path for path in (TEMPLATES / new.kind).iterdir()}
    if new.manifest_only:
        special = TEMPLATES / f"{new.kind}-manifest-only"
        found |= {path.name: path for path in special.glob("*")}
    return sorted(found.values(), key=lambda path: path.name)


def _values(new: NewDistribution) -> dict[str, str]:
    distributions = software()["distributions"]
    values = {
        "kind": new.kind,
        "kind_title": new.kind.capitalize(),
        "plural": FOLDERS[new.kind],
        "name": new.name,
        "title": new.name.replace("-", " ").capitalize(),
        "distribution": new.distribution,
        "package": new.package,
        "class": new.class_name,
        "version": str(distributions.get("posttrainbench", "0")),
        "pytest_words": "." if new.manifest_only else "; `pytest` does the same.",
    }
    about = next(path for path in _sources(new) if path.name == "about.md.tmpl")
    values["about"] = _filled(about, values).strip()
    values["files"] = _file_list(new)
    return values


def _file_list(new: NewDistribution) -> str:
    package = f"src/{new.package}"
    folder = f"{package}/{FOLDERS[new.kind]}" if new.manifest_only else package
    lines = [f"- `{folder}/{new.name}.json`: the facts"]
    if not new.manifest_only:
        code = "__init__" if new.kind == "model" else new.kind
        lines.append(f"- `{package}/{code}.py`: the code")
        lines.append("- `tests/`: the promises of the interface; put tests of your own beside them")
    return "\n".join([*lines, "- `plan.json`: a plan that tries it"])


def _plan(new: NewDistribution, values: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return a small plan in which the new component takes the place of a built-in one."""
    plan: dict[str, JsonValue] = json.loads(
        _filled(TEMPLATES / "shared" / "plan.json.tmpl", values)
    )
    chosen = {"name": new.name}
    own: dict[Kind, dict[str, JsonValue]] = {
        "task": {"tasks": [new.name]},
        "model": {"models": [new.name]},
        "scaffold": {"agents": [chosen | {"scaffold": new.name}]},
        "judge": {"judges": [chosen]},
    }
    return plan | own.get(new.kind, {new.kind: chosen})


def _filled(template: Path, values: Mapping[str, str]) -> str:
    return Template(template.read_text("utf-8")).substitute(values)
