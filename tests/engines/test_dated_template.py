"""Templates that print a fixed date though the server knows the real one only."""

from __future__ import annotations

import datetime

import pytest

from ptb_plugins.engines.vllm.dated_template import with_date

jinja2 = pytest.importorskip("jinja2")
sandbox = pytest.importorskip("jinja2.sandbox")
MOMENT = datetime.datetime(2024, 1, 2)


def rendered(template: str) -> str:
    """Render as transformers does, whose function gives another date."""
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["strftime_now"] = lambda form: "the real date"
    return str(environment.from_string(with_date(template, "2024-01-02")).render(names=["a", "b"]))


@pytest.mark.parametrize(
    "form",
    [
        "%d %B %Y",
        "%-d. %b %y",
        "%Y-%m-%d",
        "%%d 100%% %d",
        "%A, %j, %U %p %I",
        "",
        "plain",
        "%",
        "%Q %d",
        "'quoted' \\ %d",
        "%^a%_d%0e",
    ],
)
def test_every_form_gives_what_strftime_gives(form: str) -> None:
    printed = rendered(f"{{{{ strftime_now({form!r}) }}}}")
    assert printed == MOMENT.strftime(form)


def test_the_date_holds_inside_loops_and_conditions() -> None:
    template = (
        "{% for n in names %}{% if n == 'b' %}{{ n ~ strftime_now('%d') }}{% endif %}{% endfor %}"
    )
    assert rendered(template) == "b02"


@pytest.mark.parametrize("template", ["\n\n x\n", "  {% if true %}\n y{% endif %}", "{{- ' z' }}"])
def test_nothing_else_of_the_template_changes(template: str) -> None:
    plain = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert rendered(template) == plain.from_string(template).render()
