"""Import what an entry point names, or say in words why that fails and what its author does."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint

from ptb_core.suggest import did_you_mean

_AGAIN = "in its pyproject.toml and install it again"


class EntryPointError(Exception):
    """An entry point cannot be imported; the text is the reason, the cause what was raised."""


def import_entry_point(entry_point: EntryPoint) -> object:
    """Return the module, or the object in it, that an entry point names.

    Raises:
        EntryPointError: If it cannot be imported. ``KeyboardInterrupt`` passes.
    """
    module_name, attributes = _parts(entry_point)
    found = _module(module_name, entry_point)
    path = module_name
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            hint = did_you_mean(attribute, _public_names(found))
            raise EntryPointError(
                f"{path} has no attribute {attribute!r}{hint}: correct the entry point "
                f"`{_line(entry_point)}` {_AGAIN}"
            ) from error
        path += f".{attribute}"
    return found


def _parts(entry_point: EntryPoint) -> tuple[str, list[str]]:
    module_name, _, attributes = entry_point.value.partition("[")[0].strip().partition(":")
    return module_name.strip(), [name for name in attributes.strip().split(".") if name]


def _module(name: str, entry_point: EntryPoint) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EntryPointError(_missing_module(name, entry_point, error)) from error
    except SystemExit as error:
        raise EntryPointError(
            f"{name} ends the program while it is imported ({words_of(error)}): put what it runs "
            "into a function"
        ) from error
    except Exception as error:
        raise EntryPointError(f"{name} cannot be imported: {words_of(error)}") from error


def _missing_module(name: str, entry_point: EntryPoint, error: ModuleNotFoundError) -> str:
    missing = error.name or ""
    if missing and f"{name}.".startswith(f"{missing}."):
        return (
            f"there is no module {missing!r}: correct the entry point `{_line(entry_point)}`, or "
            f"the packages that its build includes, {_AGAIN}"
        )
    return (
        f"{name} cannot be imported: {words_of(error)}; install what brings that module, or "
        "have the distribution's dependencies name it"
    )


def _line(entry_point: EntryPoint) -> str:
    return f"{entry_point.name} = {entry_point.value}"


def _public_names(found: object) -> list[str]:
    return [name for name in dir(found) if not name.startswith("_")]


def words_of(error: BaseException) -> str:
    """Return an exception in one line: its type and its text, if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
