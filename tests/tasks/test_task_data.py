from __future__ import annotations

import pytest

from ptb_core.api import DataError
from ptb_plugins.tasks.task_data import check_wording, filled, text_column


def test_a_text_is_taken_from_its_column() -> None:
    assert text_column("odd", {"a": "x", "b": ""}, "b", 3) == ""


@pytest.mark.parametrize("value", [None, 5, ["x"]])
def test_a_column_without_text_is_named_with_what_is_there(value: object) -> None:
    says = "odd: row 3 has no text 'b'; its columns are a, b"
    with pytest.raises(DataError, match=says):
        text_column("odd", {"a": "x", "b": value}, "b", 3)


def test_an_empty_row_has_nothing() -> None:
    with pytest.raises(DataError, match="odd: row 0 has no text 'b'; its columns are nothing"):
        text_column("odd", {}, "b", 0)


@pytest.mark.parametrize("template", ["{a}", "{a}{b}{a}", "a {b}"])
def test_a_wording_must_have_each_place_once(template: str) -> None:
    with pytest.raises(DataError, match=r"odd: .* must hold \{[ab]\} exactly once"):
        check_wording("odd", template, "a", "b")
    assert check_wording("odd", "{b} {a}", "a", "b") == "{b} {a}"


def test_places_are_filled_in_one_pass_and_other_braces_stay() -> None:
    assert filled("{a} {b} {c} {} \\boxed{x", a="{b}", b="{a}") == "{b} {a} {c} {} \\boxed{x"
