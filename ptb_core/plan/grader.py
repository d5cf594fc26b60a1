"""The plan's ``grader``: who grades the tasks that no rule can score, and what it may cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from ptb_core.grading.endpoint import host_of
from ptb_core.grading.prices import known_price
from ptb_core.json_paths import path_of, shown
from ptb_core.settings import can_name_a_file
from ptb_core.specs import GraderSpec, JsonValue, TokenPrice
from ptb_core.suggest import did_you_mean

WORDING_BYTES = 2**20
"""Largest file with a wording."""

FaultOf = Callable[[str, str, str], None]
"""Notes a fault: JSON path, found, expected."""

WordingFaults = Callable[[str, str], Sequence[str]]
"""Says why a task, by its name, cannot ask its grader in a wording."""


class GraderReader:
    """Reads the parts of a plan that are about its grader.

    Args:
        data: The plan, its form checked.
        folder: Folder that relative paths start from.
        fault: Notes what is wrong.
        wording_faults: Asked about each wording; by default any text will do.
    """

    def __init__(
        self,
        data: Mapping[str, JsonValue],
        folder: Path,
        fault: FaultOf,
        wording_faults: WordingFaults = lambda task, text: (),
    ) -> None:
        self._data, self._folder, self._fault = data, folder, fault
        self._wording_faults = wording_faults

    def grader(self, graded_tasks: Sequence[str]) -> GraderSpec:
        """Return the grader, the default one where the plan names none.

        Args:
            graded_tasks: Those of the plan's tasks that need one.
        """
        given = self._data.get("grader", {})
        facts = {key: value for key, value in given.items() if key != "prompts"}
        spec = msgspec.convert(facts, GraderSpec)
        self._check_address(given, spec)
        self._check_variable(spec.api_key_env)
        prompts = self._prompts(given.get("prompts", {}), graded_tasks)
        return replace(spec, prompts=prompts)

    def price(self, spec: GraderSpec) -> TokenPrice | None:
        """Return what the plan says the grader costs, else the known price, else None.

        A budget on a grader of unknown price is a fault: it would hold nothing back.
        """
        given = self._data.get("prices", {}).get("grader")
        if given is not None:
            return msgspec.convert(given, TokenPrice)
        price = known_price(spec)
        if price is None and "grader_usd" in self._data.get("budgets", {}):
            self._fault(
                "$.budgets.grader_usd",
                f"a budget for {shown(spec.model)} at {host_of(spec.base_url)}, whose price is "
                "not known",
                "its price in $.prices.grader (zeros for a server of your own), or no such budget",
            )
        return price

    def _check_address(self, given: Mapping[str, JsonValue], spec: GraderSpec) -> None:
        path = "$.grader.base_url"
        parts = _split(spec.base_url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            expected = "an address such as https://api.openai.com/v1"
            self._fault(path, _without_user(spec.base_url), expected)
        elif "@" in parts.netloc:
            self._fault(
                path,
                f"a user or password in the address of {host_of(spec.base_url)}",
                "an address without them, and the key in the variable of $.grader.api_key_env",
            )
        elif parts.query or parts.fragment or parts.path.rstrip("/").endswith("/completions"):
            self._fault(
                path,
                _without_user(spec.base_url),
                "the address up to and including the API's version, such as "
                "https://api.openai.com/v1",
            )
        if "base_url" in given and "api_key_env" not in given:
            self._fault(
                "$.grader.api_key_env",
                f"nothing beside another base_url; {GraderSpec().api_key_env} would be sent there",
                "the environment variable that holds the key of this endpoint, or null for none",
            )

    def _check_variable(self, name: str | None) -> None:
        """Refuse what is no name without showing it: it may be the key itself."""
        if name is not None and not (name.isascii() and name.isidentifier()):
            self._fault(
                "$.grader.api_key_env",
                "a text that is no name of an environment variable",
                "the name of the variable that holds the key, such as OPENAI_API_KEY; the key "
                "itself stands in no plan",
            )

    def _prompts(
        self, given: Mapping[str, JsonValue], graded_tasks: Sequence[str]
    ) -> dict[str, str]:
        prompts: dict[str, str] = {}
        for name, file in given.items():
            path = path_of(("grader", "prompts", name))
            if name not in graded_tasks:
                known = ", ".join(graded_tasks) or "none of them"
                self._fault(
                    path,
                    "a wording for a task that the plan lacks or that needs no grader",
                    f"one of the plan's graded tasks: {known}{did_you_mean(name, graded_tasks)}",
                )
                continue
            text = self._wording(file, path)
            if text is None:
                continue
            prompts[name] = text
            unfit = self._wording_faults(name, text)
            if unfit:
                self._fault(
                    path,
                    f"{(self._folder / file).resolve()} ({'; '.join(unfit)})",
                    f"a wording in which {name} can ask its grader",
                )
        return prompts

    def _wording(self, file: str, path: str) -> str | None:
        expected = "a text file in UTF-8, relative to the plan's folder"
        if not can_name_a_file(file):
            self._fault(path, f"{shown(file)}, which is no file", expected)
            return None
        place = (self._folder / file).resolve()
        try:
            if place.stat().st_size > WORDING_BYTES:
                self._fault(path, f"{place}, which is larger than 1 MiB", expected)
                return None
            text = place.read_text("utf-8")
        except UnicodeDecodeError:
            self._fault(path, f"{place}, which is no UTF-8", expected)
        except OSError as error:
            self._fault(path, f"{place}, which cannot be read ({error.strerror})", expected)
        else:
            if text.strip():
                return text
            self._fault(path, f"{place}, which is empty", expected)
        return None


def grader_identity(spec: GraderSpec) -> JsonValue:
    """Return what of a grader results must share: who decides, by which wording.

    The address is no part of it: the same model may be reached in several ways.
    """
    return {"model": spec.model, "prompts": wording_digests(spec)}


def wording_digests(spec: GraderSpec) -> dict[str, str]:
    """Return the sha256 of each wording that takes the place of a task's own, by task."""
    return {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in sorted(spec.prompts.items())
    }


def _split(address: str) -> SplitResult | None:
    """Return an address in parts, or None for what is none, such as with a port of letters."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts if address.isascii() and address.isprintable() and " " not in address else None


def _without_user(address: str) -> str:
    """Return an address as a fault shows it, less what may be a password."""
    scheme, mark, rest = address.partition("://")
    return shown(f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else address.rpartition("@")[2])
