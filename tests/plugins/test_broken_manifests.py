"""Every rule of every manifest schema, broken once: the second half of the table of broken plugins.

``broken_manifests.json`` holds, for each kind, a manifest that keeps all rules and one row per
rule: the change that breaks it and the faults that a user reads. The rules are taken from the
schemas, so a rule that is added there without a row here fails.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import ptb_core.catalogue
from ptb_core.catalogue import Catalogue, Row, load_catalogue
from ptb_core.cli.main import main
from ptb_core.manifests import FOLDERS, SPEC_TYPES
from ptb_core.plan.check import Checker
from ptb_core.plugins import MANIFEST_KINDS, load_plugins
from ptb_core.schemas import faults
from ptb_core.specs import Kind
from ptb_core.testing.installed import temporary_site

from .schema_rules import rules_of

TABLE: Mapping[Kind, Any] = json.loads(
    Path(__file__).with_name("broken_manifests.json").read_text("utf-8")
)

CODE = """
from pathlib import Path
from ptb_core import api

def component(kind, spec):
    base = getattr(api, kind.capitalize())
    methods = {name: lambda *_: None for name in base.__abstractmethods__}
    return type("Odd", (base,), methods)(spec)

def read(kind, number):
    path = Path(__file__).parent / "manifests" / f"row-{number}.json"
    return component(kind, api.load_manifest(path, getattr(api, kind.capitalize() + "Spec")))
"""

PLUGIN = """
from ptb_core.api import hookimpl
from odd_parts import read

@hookimpl
def ptb_register_{folder}(): return [read({kind!r}, {number})]
"""


def broken(kind: Kind, rule: str, number: int) -> Any:
    """Return the kind's manifest with the one change that breaks the rule."""
    manifest = {**copy.deepcopy(TABLE[kind]["manifest"]), "name": f"row-{number}"}
    change = TABLE[kind]["broken"][rule]["change"]
    steps = re.findall(r"\.([$\w]+)|\[(\d+)\]", change.get("set", change.get("remove"))[1:])
    place: Any = {"$": manifest}
    last: Any = "$"
    for key, index in steps:
        place, last = place[last], key or int(index)
    if "remove" in change:
        del place[last]
    else:
        place[last] = change["to"]
    return manifest if steps else change["to"]


def distribution(kind: Kind) -> tuple[dict[str, str], str]:
    """Return files and entry points of a distribution with one broken manifest per rule."""
    files, entry_points = {"odd_parts.py": CODE, "my_facts/__init__.py": ""}, ["[ptb.v1]"]
    for number, rule in enumerate(TABLE[kind]["broken"]):
        text = json.dumps(broken(kind, rule, number))
        if kind in MANIFEST_KINDS:
            files[f"my_facts/{FOLDERS[kind]}/row-{number}.json"] = text
            continue
        files[f"manifests/row-{number}.json"] = text
        files[f"odd_{number}.py"] = PLUGIN.format(kind=kind, folder=FOLDERS[kind], number=number)
        entry_points.append(f"row-{number} = odd_{number}")
    if kind in MANIFEST_KINDS:
        entry_points.append("facts = my_facts")
    return files, "\n".join(entry_points)


@pytest.fixture(scope="module", params=TABLE)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each kind in turn, with a distribution ``ptb-odd`` that breaks each of its rules once."""
    one: Kind = request.param
    with pytest.MonkeyPatch.context() as patch, temporary_site() as site:
        frozen = functools.partial(load_plugins, clock=lambda: 0.0)
        patch.setattr(ptb_core.catalogue, "load_plugins", frozen)
        site.install("ptb-odd", *distribution(one))
        load_catalogue()
        yield one


def row_of(catalogue: Catalogue, number: int) -> Row:
    """Return the row whose reason is about a manifest."""
    (row,) = [row for row in catalogue.rows() if f"/row-{number}.json: " in row.reason]
    return row


@pytest.mark.parametrize("kind_of_rule", SPEC_TYPES)
def test_every_rule_of_a_schema_has_a_row_and_every_row_a_rule(kind_of_rule):
    assert sorted(TABLE[kind_of_rule]["broken"]) == sorted(rules_of(kind_of_rule))


@pytest.mark.parametrize("kind_of_rule", SPEC_TYPES)
def test_the_manifest_that_the_rows_change_keeps_all_rules_itself(kind_of_rule):
    assert faults(TABLE[kind_of_rule]["manifest"], kind_of_rule) == ()


def test_each_broken_rule_is_told_in_the_words_of_its_row_and_with_its_distribution(kind):
    catalogue = load_catalogue()
    for number, (rule, row) in enumerate(TABLE[kind]["broken"].items()):
        listed = row_of(catalogue, number)
        assert listed.distribution == "ptb-odd", rule
        file, _, told = listed.reason.partition(f"/row-{number}.json: ")
        count = row["says"].count("\n") + 1
        counted = "1 fault" if count == 1 else f"{count} faults"
        assert re.sub("\n  ", "\n", told) == f"{counted}\n{row['says']}", rule
        assert re.fullmatch(rf"(ptb_register_{FOLDERS[kind]}: )?/\S+", file), rule


def test_a_plan_that_needs_a_broken_manifest_is_told_its_distribution(kind, tmp_path):
    catalogue = load_catalogue()
    for number, rule in enumerate(TABLE[kind]["broken"]):
        listed = row_of(catalogue, number)
        name = f"row-{number}" if listed.kind == "plugin" else listed.name
        checker = Checker(catalogue, tmp_path)
        checker.component(kind, name, "$")
        (said,) = [*map(str, checker.faults), *checker.obstacles]
        assert "ptb-odd 1.0" in said, rule


def test_the_list_shows_built_in_components_beside_all_broken_manifests(kind, capsys):
    assert main(["list"]) == 0
    assert re.search(r"^  gsm8k +usable ", capsys.readouterr().out, re.MULTILINE)


def test_no_sentence_shows_a_pattern_to_somebody_who_needs_an_example():
    told = [row["says"] for kind in TABLE for row in TABLE[kind]["broken"].values()]
    assert [text for text in told if "text of the form" in text or "keeps '" in text] == []
