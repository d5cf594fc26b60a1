"""Why a component that a plugin brought must not be used: schema, rules, code, duplicates."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from ptb_core.checked_digests import CheckedDigests
from ptb_core.data import root_of
from ptb_core.described_task import DescribedTask
from ptb_core.entry_points import DISABLE_VARIABLE, OWN_DISTRIBUTION, Plugin, normalised
from ptb_core.errors import Fault, PtbError
from ptb_core.importing import words_of
from ptb_core.interfaces import Component, Engine, Sandbox, Task
from ptb_core.plugins import Contribution
from ptb_core.sandboxing import Limits
from ptb_core.spec_rules import ComponentSpec, rule_faults
from ptb_core.specs import Condition, JsonValue, ModelSpec, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A contribution after all checks.

    Attributes:
        contribution: With an absolute chat template, and its fault filled in.
        content: What its facts are: the manifest's bytes, or the spec's canonical JSON.
    """

    contribution: Contribution
    content: bytes


def check_contributions(contributions: Iterable[Contribution]) -> tuple[Checked, ...]:
    """Return all contributions with the first fault that speaks against each of them.

    What could not be loaded takes no name from what could.
    """
    digests = CheckedDigests()
    given = tuple(contributions)
    loaded = [_check(one, digests) for one in given if not one.fault]
    failed = [_check(one, digests) for one in given if one.fault]
    digests.save()
    return (*_without_duplicates(loaded), *failed)


def _check(contribution: Contribution, digests: CheckedDigests) -> Checked:
    if contribution.spec is None:
        return Checked(contribution=contribution, content=b"")
    try:
        content = _content(contribution)
        fault = contribution.fault or _schema_fault(contribution, content, digests)
        resolved = _with_absolute_template(contribution)
        fault = fault or _rule_fault(resolved)
    except Exception as error:  # a spec built in code may hold anything
        words = f"its facts cannot be checked: {words_of(error)}"
        return Checked(contribution=replace(contribution, fault=words), content=b"")
    return Checked(contribution=_as_component(replace(resolved, fault=fault)), content=content)


def _content(contribution: Contribution) -> bytes:
    if contribution.manifest is not None:
        return contribution.manifest.read_bytes()
    from ptb_core.canonical import canonical_json

    return canonical_json(contribution.spec)


def _schema_fault(contribution: Contribution, content: bytes, digests: CheckedDigests) -> str:
    digest = digests.digest(content, contribution.kind)
    if digests.has_passed(digest):
        return ""
    from ptb_core.schemas import faults, load_json

    if contribution.manifest is None:
        data: JsonValue = json.loads(content)
        source = "its spec"
    else:
        try:
            data = load_json(contribution.manifest)
        except PtbError as error:
            return str(error)
        source = str(contribution.manifest)
    found = faults(data, contribution.kind)
    if not found:
        digests.add(digest)
    return _listed(source, found)


def _rule_fault(contribution: Contribution) -> str:
    spec = cast("ComponentSpec", contribution.spec)
    source = str(contribution.manifest) if contribution.manifest else "its spec"
    return _listed(source, rule_faults(spec, contribution.manifest))


def _listed(source: str, faults: tuple[Fault, ...]) -> str:
    if not faults:
        return ""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"{source}: {count}", *(f"  {fault}" for fault in faults)])


def _with_absolute_template(contribution: Contribution) -> Contribution:
    spec = contribution.spec
    if not isinstance(spec, ModelSpec) or contribution.manifest is None:
        return contribution
    template = root_of(contribution.manifest) / spec.chat_template
    resolved = replace(spec, chat_template=str(template))
    return replace(contribution, spec=resolved, component=resolved)


def _as_component(contribution: Contribution) -> Contribution:
    """Turn a bare task spec into what evaluates it, or into what says that nothing does."""
    spec = contribution.component
    if contribution.fault or not isinstance(spec, TaskSpec):
        return contribution
    if spec.lm_eval is None:
        plugin = contribution.plugin
        task = DescribedTask(spec, f"{plugin.distribution} {plugin.version}")
        return replace(contribution, component=task)
    try:
        from ptb_core.evaluation.lm_eval_task import LmEvalTask

        return replace(contribution, component=LmEvalTask(spec))
    except Exception as error:  # its configuration is a stranger's
        return replace(contribution, fault=f"its lm_eval block cannot be used: {words_of(error)}")


def _without_duplicates(checked: list[Checked]) -> tuple[Checked, ...]:
    by_name: dict[tuple[str, str], list[Contribution]] = defaultdict(list)
    for one in checked:
        by_name[one.contribution.kind, one.contribution.name.casefold()].append(one.contribution)
    return tuple(
        replace(one, contribution=replace(one.contribution, fault=_duplicate_words(twins)))
        if len(twins := by_name[one.contribution.kind, one.contribution.name.casefold()]) > 1
        else one
        for one in checked
    )


def _duplicate_words(twins: list[Contribution]) -> str:
    names = " and ".join(dict.fromkeys(repr(twin.name) for twin in twins))
    plugins = list(dict.fromkeys(twin.plugin for twin in twins))
    what = f"the {twins[0].kind} {names}"
    if len(plugins) == 1:
        return (
            f"{what} is brought {len(twins)} times by {plugins[0]}, so none of them is used: give "
            "each a name of its own; capitals do not count"
        )
    brought = " and ".join(str(plugin) for plugin in plugins)
    return (
        f"{what} is brought by {brought}, so none of them is used: keep one and uninstall the "
        f"rest, or switch it off, for example with {DISABLE_VARIABLE}={_all_but_one(plugins)}"
    )


def _all_but_one(plugins: list[Plugin]) -> str:
    """Return names that switch off all but one side: ours stays, or else the first."""
    kept = next((one for one in plugins if one.distribution == OWN_DISTRIBUTION), plugins[0])
    names = [
        one.distribution if normalised(one.name) == normalised(kept.name) else one.name
        for one in plugins
        if one is not kept
    ]
    return ",".join(names)


def unusable_reason(contribution: Contribution) -> str | None:
    """Return why a component cannot be used on this machine, or None; asks its own code."""
    if contribution.fault:
        return contribution.fault
    component = contribution.component
    if not isinstance(component, Component):
        return None
    try:
        reason = component.unusable_reason()
    except (Exception, SystemExit) as error:
        return f"its unusable_reason() raised {words_of(error)}"
    if reason is not None and not isinstance(reason, str):
        return f"its unusable_reason() returned {reason!r}; expected a sentence or None"
    return reason or None


def sandbox_obstacles(
    sandbox: Sandbox, condition: Condition, limits: Limits, settings: Mapping[str, JsonValue]
) -> tuple[str, ...]:
    """Return what a sandbox lacks for a condition; what goes wrong in its own code is one more."""
    return _sentences("obstacles()", lambda: sandbox.obstacles(condition, limits, settings))


def execute_obstacles(sandbox: Sandbox, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return what a sandbox lacks for programs that a model wrote, faults of its own included."""
    return _sentences("execute_obstacles()", lambda: sandbox.execute_obstacles(settings))


def engine_obstacles(engine: Engine, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return why an engine cannot serve here; what goes wrong in its own code is one more."""
    return _sentences("obstacles()", lambda: engine.obstacles(settings))


def wording_faults(task: Task, text: str) -> tuple[str, ...]:
    """Return why a task cannot use a wording for its grader, faults of its own code included."""
    return _sentences("wording_faults()", lambda: task.wording_faults(text))


def _sentences(name: str, ask: Callable[[], object]) -> tuple[str, ...]:
    try:
        found = ask()
    except (Exception, SystemExit) as error:
        return (f"its {name} raised {words_of(error)}",)
    if not isinstance(found, tuple | list) or not all(isinstance(text, str) for text in found):
        return (f"its {name} returned {found!r}; expected sentences",)
    return tuple(found)
