"""``ptb show``: the facts of one component."""

from __future__ import annotations

import click

from ptb_core.catalogue import Catalogue, load_catalogue
from ptb_core.cli.output import emphasised, indented, print_json
from ptb_core.errors import PluginError
from ptb_core.json_paths import shown
from ptb_core.manifests import FOLDERS
from ptb_core.specs import KINDS, JsonValue, Kind

KIND_WORDS: dict[str, Kind] = {
    **{kind: kind for kind in KINDS},
    **{FOLDERS[kind]: kind for kind in KINDS},
}
"""What a user may write for a kind."""


@click.command("show")
@click.argument("kind", type=click.Choice(list(KIND_WORDS)), metavar="KIND")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(kind: str, name: str, as_json: bool) -> None:
    """Show the facts of one component.

    KIND is task, model, scaffold, sandbox, engine, judge or executor. `ptb plugins NAME` shows a
    plugin.
    """
    facts = component_facts(load_catalogue(), KIND_WORDS[kind], name)
    if as_json:
        print_json(facts)
        return
    for line in component_lines(facts):
        click.echo(line)


def component_facts(catalogue: Catalogue, kind: Kind, name: str) -> dict[str, JsonValue]:
    """Return everything that is known of a component, as JSON.

    Raises:
        UsageError: If there is no such component.
    """
    import msgspec

    row = catalogue.row(kind, name)
    manifest = catalogue.manifest(kind, name)
    try:
        spec = msgspec.to_builtins(catalogue.spec(kind, name))
    except PluginError:  # an unreadable manifest: the row's reason says what is wrong with it
        spec = None
    return {
        "kind": kind,
        "name": name,
        "usable": row.usable,
        "reason": row.reason,
        "distribution": row.distribution,
        "version": row.version,
        "manifest": str(manifest) if manifest is not None else None,
        "manifest_sha256": catalogue.provenance(kind, name).manifest_sha256,
        "spec": spec,
    }


def component_lines(facts: dict[str, JsonValue]) -> list[str]:
    """Return the facts of a component as lines of text."""
    spec = dict(facts["spec"] or {})
    settings = spec.pop("settings", None)
    text = [emphasised(f"{facts['kind']} {facts['name']}"), *_usable_lines(facts), ""]
    text += _fields({key: value for key, value in spec.items() if key != "name"})
    if settings is not None:
        text += ["", *_settings_lines(settings)]
    manifest = facts["manifest"] or "none: described in code"
    text += ["", f"from      {facts['distribution']} {facts['version']}", f"manifest  {manifest}"]
    return [*text, f"sha256    {facts['manifest_sha256']}"]


def _usable_lines(facts: dict[str, JsonValue]) -> list[str]:
    return ["usable"] if facts["usable"] else ["unusable:", *indented(facts["reason"], 2)]


def _fields(fields: dict[str, JsonValue], columns: int = 0) -> list[str]:
    width = max((len(key) for key in fields), default=0)
    text: list[str] = []
    for key, value in fields.items():
        if _is_plain(value):
            text.append(f"{' ' * columns}{key:<{width}}  {_plain(value)}")
        else:
            text += [f"{' ' * columns}{key}", *_nested(value, columns + 2)]
    return text


def _nested(value: JsonValue, columns: int) -> list[str]:
    if isinstance(value, dict):
        return _fields({key: item for key, item in value.items() if item is not None}, columns)
    text: list[str] = []
    for item in value:
        first, *others = _nested(item, columns + 2) if isinstance(item, dict) else [_plain(item)]
        text += [f"{' ' * columns}- {first.lstrip()}", *others]
    return text


def _is_plain(value: JsonValue) -> bool:
    if isinstance(value, list | tuple):
        return all(not isinstance(item, list | tuple | dict) for item in value)
    return not isinstance(value, dict) or not value


def _plain(value: JsonValue) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "-"
    if value is None or value in ("", {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _settings_lines(settings: list[dict[str, JsonValue]]) -> list[str]:
    if not settings:
        return ["settings: none"]
    text = ["settings"]
    for setting in settings:
        text.append(f"  {setting['name']} ({_setting_form(setting)})")
        text += indented(setting["description"], 6)
    return text


def _setting_form(setting: dict[str, JsonValue]) -> str:
    parts = [setting["type"] + (", a path" if setting["is_path"] else "")]
    if setting["choices"]:
        parts.append("one of " + ", ".join(_plain(choice) for choice in setting["choices"]))
    if setting["required"]:
        parts.append("required")
    elif setting["default"] is not None:
        parts.append(f"default {shown(setting['default'])}")
    return "; ".join(parts)
