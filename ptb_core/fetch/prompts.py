"""Prompt wordings, read from the published packages that define them; never imported, never pasted.

A wording comes from the package as installed, else from the cache, else from the pinned wheel.
Only the syntax tree of the defining module is read, so that no package code runs.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import textwrap
from pathlib import Path

import msgspec

from ptb_core.atomic import write_json
from ptb_core.cache import locked
from ptb_core.errors import DataError
from ptb_core.fetch.context import FetchContext
from ptb_core.fetch.wheels import wheel_member
from ptb_core.specs import PromptText

_METHODS = ("strip", "lstrip", "rstrip")


class CachedPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A wording as the cache keeps it."""

    text: str
    origin: str


def resolve_prompt(
    prompt: PromptText, mirror: Path | None = None, offline: bool | None = None
) -> tuple[str, str]:
    """Return a wording and where it came from, such as ``inspect-evals==0.26.0``.

    Args:
        prompt: What is wanted, with its pinned digest.
        mirror: Folder with local copies of wheels; ``$PTB_MIRROR`` by default.
        offline: True forbids the network; ``$PTB_OFFLINE`` by default.

    Raises:
        DataError: If it cannot be had, or no version holds the text that was pinned.
    """
    return prompt_in(prompt, FetchContext.from_environment(mirror, offline))


def prompt_in(prompt: PromptText, context: FetchContext) -> tuple[str, str]:
    """Return a wording and where it came from; see :func:`resolve_prompt`.

    Raises:
        DataError: If it cannot be had, or no version holds the text that was pinned.
    """
    installed = _installed_text(prompt)
    if installed is not None:
        return installed, f"{prompt.package}=={importlib.metadata.version(prompt.package)}"
    path = context.root / "prompts" / f"{prompt.sha256[:10]}.json"
    with locked(context.root, f"prompt/{prompt.sha256[:10]}"):
        cached = _cached(path)
        if cached is None or not _is_pinned(cached.text, prompt):
            cached = _from_wheel(prompt, context)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, cached)
    return cached.text, cached.origin


def text_of(module: Path, symbol: str) -> str:
    """Return the string that a module assigns to a name at its top level.

    Understands string constants, their sums, other such names, ``.strip()`` and its kin, and
    ``textwrap.dedent``.

    Raises:
        DataError: If the module cannot be read or does not define such a string.
    """
    try:
        tree = ast.parse(module.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{module} cannot be read as Python ({error})") from error
    values: dict[str, str] = {}
    for node in tree.body:
        name = _assigned_name(node)
        if name is not None and isinstance(node, ast.Assign | ast.AnnAssign):
            text = None if node.value is None else _string(node.value, values)
            if text is not None:
                values[name] = text
    if symbol not in values:
        raise DataError(f"{module} assigns no plain string to {symbol}")
    return values[symbol]


def _assigned_name(node: ast.stmt) -> str | None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _string(node: ast.expr, values: dict[str, str]) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return values.get(name)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _string(left, values), _string(right, values)
            return None if first is None or second is None else first + second
        case ast.Call(func=ast.Attribute(value=inner, attr=method), args=[], keywords=[]):
            stripped = _string(inner, values)
            known = stripped is not None and method in _METHODS
            return str(getattr(stripped, method)()) if known else None
        case ast.Call(func=function, args=[inner], keywords=[]) if _is_dedent(function):
            indented = _string(inner, values)
            return None if indented is None else textwrap.dedent(indented)
    return None


def _is_dedent(function: ast.expr) -> bool:
    return ast.unparse(function) in ("dedent", "textwrap.dedent")


def _is_pinned(text: str, prompt: PromptText) -> bool:
    return hashlib.sha256(text.encode()).hexdigest().startswith(prompt.sha256)


def _installed_text(prompt: PromptText) -> str | None:
    """Return the pinned text if the installed package holds it, else None."""
    try:
        importlib.metadata.version(prompt.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    for name in (prompt.module, *prompt.other_modules):
        for module in _module_files(name):
            with contextlib.suppress(DataError):
                text = text_of(module, prompt.symbol)
                if _is_pinned(text, prompt):
                    return text
    return None


def _module_files(name: str) -> list[Path]:
    """Return the files of a module, found without importing anything of it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(folder).joinpath(*rest).with_suffix(".py") for folder in folders]
    return [file for file in files if file.is_file()]


def _cached(path: Path) -> CachedPrompt | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=CachedPrompt)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _from_wheel(prompt: PromptText, context: FetchContext) -> CachedPrompt:
    origin = f"{prompt.package}=={prompt.versions[0]}"
    member = f"{prompt.module.replace('.', '/')}.py"
    text = text_of(wheel_member(origin, member, context), prompt.symbol)
    if not _is_pinned(text, prompt):
        found = hashlib.sha256(text.encode()).hexdigest()
        raise DataError(
            f"the prompt {prompt.module}.{prompt.symbol} of {origin} has drifted: its sha256 is "
            f"{found}, expected {prompt.sha256}. Results would not be comparable; install one of "
            f"{prompt.package} {', '.join(prompt.versions)} unchanged"
        )
    return CachedPrompt(text=text, origin=origin)
