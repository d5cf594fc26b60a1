"""Every way for a plugin to be broken: the whole sentence that a user reads, and what still runs.

The ways that a manifest can break its schema are the second half of the table:
``test_broken_manifests.py`` takes them from ``broken_manifests.json``.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

import ptb_core.catalogue
import ptb_core.driver
from ptb_core.catalogue import load_catalogue
from ptb_core.cli.main import main
from ptb_core.plugins import load_plugins
from ptb_core.testing.installed import Site, temporary_site

from .plugin_code import FACTS, MINE, ONE_MODEL, ONE_TASK, model, task

PLAN = {
    "name": "small",
    "tasks": ["errands"],
    "models": ["tiny-qwen3"],
    "agents": [{"name": "null", "scaffold": "null"}],
    "condition": {"hours": 0.5, "gpus": 0, "network": "open"},
    "sandbox": {"name": "local"},
    "engine": {"name": "transformers"},
    "judges": [],
    "protocol": "strict",
}

WHOLE = "mine unusable the whole plugin [ptb-odd 1.0, entry point mine]"
ITS_TASKS = "mine unusable its tasks [ptb-odd 1.0, entry point mine]"
CAPITALS = "capitals unusable D. [ptb-odd 1.0, entry point mine]"
NOTE = "note: ptb-odd 1.0 (entry point mine) "
UNKNOWN = "It may belong to a plugin that is not loaded (ptb-odd 1.0 (entry point mine))"
HOOKS = (
    "ptb_register_tasks, ptb_register_models, ptb_register_scaffolds, ptb_register_sandboxes, "
    "ptb_register_engines, ptb_register_judges, ptb_register_executors"
)
USABLE = "capitals usable D. [ptb-odd 1.0, entry point mine]"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to be broken.

    ``says`` is the text that `ptb list` prints about the distribution ``ptb-odd``: the line of
    each row and its reason, SITE standing for the folder that it is installed in. ``needs`` is the
    component of a plan that needs the broken part, and ``refusal`` what `ptb run` then says; no
    ``refusal`` means that the plan runs.
    """

    code: str = ""
    says: tuple[str, ...]
    needs: tuple[str, str] = ("task", "capitals")
    refusal: str = UNKNOWN
    files: Mapping[str, str] = field(default_factory=dict)
    entry_points: str = MINE


def hook(body: str) -> str:
    return f"{ONE_TASK}\n@hookimpl\ndef ptb_register_tasks():\n    {body}\n"


def disabled(body: str, reason: str) -> Way:
    """A hook that fails before it has yielded anything."""
    return Way(code=hook(body), says=(ITS_TASKS, reason))


def dropped(body: str, reason: str) -> Way:
    """A hook that fails after it has yielded the task ``capitals``."""
    of_it = f"its hook is disabled: {reason}"
    return Way(
        code=hook(body),
        says=(
            CAPITALS,
            of_it,
            ITS_TASKS,
            f"{reason}; what else it yielded is disabled too: capitals",
        ),
        refusal=f"task capitals of ptb-odd 1.0: {of_it}",
    )


def rejected(code: str, reason: str, entry_points: str = MINE) -> Way:
    """A plugin that is not loaded at all."""
    return Way(code=code, says=(WHOLE, reason), entry_points=entry_points)


def faulty(code: str, reason: str) -> Way:
    """A task that is faulty by itself; its plugin is loaded."""
    return Way(
        code=code, says=(CAPITALS, reason), refusal=f"task capitals of ptb-odd 1.0: {reason}"
    )


def noted(code: str, note: str) -> Way:
    """A plugin that works, and of which something is said."""
    return Way(code=code, says=(USABLE, NOTE + note), refusal="")


def manifest(text: str, reason: str, name: str = "riddles", what: str = "") -> Way:
    """A distribution without code whose only task manifest is faulty."""
    return Way(
        files={"my_facts/tasks/riddles.json": text},
        entry_points=FACTS,
        says=(f"{name} unusable {what}[ptb-odd 1.0, entry point facts]", reason),
        needs=("task", name),
        refusal="ptb-odd 1.0",
    )


def lone_model(reason: str, name: str = "tiny", **changes: object) -> Way:
    """A distribution without code whose only model manifest is faulty."""
    return Way(
        files={"my_facts/models/tiny.json": model(**changes), "my_facts/models/x.jinja": ""},
        entry_points=FACTS,
        says=(f"{name} unusable A model. [ptb-odd 1.0, entry point facts]", reason),
        needs=("model", name),
        refusal=f"model {name} of ptb-odd 1.0: ",
    )


def twins(second: str, names: str) -> Way:
    """Two distributions, each with a model of the same name."""
    brought = (
        f"the model {names} is brought by ptb-odd 1.0 (entry point mine) and ptb-two 1.0 (entry "
        "point mine), so none of them is used: keep one and uninstall the rest, or switch it off, "
        "for example with PTB_DISABLE_PLUGINS=ptb-two"
    )
    return Way(
        code=models("twin"),
        files={
            "two.py": models(second),
            "ptb_two-1.0.dist-info/METADATA": "Name: ptb-two\nVersion: 1.0\n",
            "ptb_two-1.0.dist-info/entry_points.txt": "[ptb.v1]\nmine = two\n",
        },
        says=("twin unusable A model. [ptb-odd 1.0, entry point mine]", brought),
        needs=("model", "twin"),
        refusal=f"model twin of ptb-odd 1.0: {brought}",
    )


def models(*names: str) -> str:
    listed = ", ".join(f"model({name!r})" for name in names)
    return f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_models(): return [{listed}]\n"


FINE = hook("return [Capitals(spec('capitals'))]")

WAYS: dict[str, Way] = {
    # Import
    "a dependency is missing": rejected(
        "import no_such_module_at_all\n",
        "my_plugin cannot be imported: ModuleNotFoundError: No module named "
        "'no_such_module_at_all'; install what brings that module, or have the distribution's "
        "dependencies name it",
    ),
    "the module itself is missing": rejected(
        "",
        "there is no module 'their_plugin': correct the entry point `mine = their_plugin.hooks`, "
        "or the packages that its build includes, in its pyproject.toml and install it again",
        "[ptb.v1]\nmine = their_plugin.hooks\n",
    ),
    "the attribute is missing": rejected(
        "plugin = 1\n",
        "my_plugin has no attribute 'plugn' (did you mean 'plugin'?): correct the entry point "
        "`mine = my_plugin:plugn` in its pyproject.toml and install it again",
        "[ptb.v1]\nmine = my_plugin:plugn\n",
    ),
    "import raises": rejected(
        "raise ValueError('no luck')\n", "my_plugin cannot be imported: ValueError: no luck"
    ),
    "import raises without words": rejected(
        "raise RecursionError\n", "my_plugin cannot be imported: RecursionError"
    ),
    "import raises an AttributeError of its own": rejected(
        "import os\nos.nothing\n",
        "my_plugin cannot be imported: AttributeError: module 'os' has no attribute 'nothing'",
    ),
    "a name of the interface is misspelt": rejected(
        "from ptb_core.api import Taks\n",
        "my_plugin cannot be imported: ImportError: cannot import name 'Taks' from 'ptb_core.api' "
        "(CORE/api.py)",
    ),
    "the code is no Python": rejected(
        "def (:\n",
        "my_plugin cannot be imported: SyntaxError: invalid syntax (my_plugin.py, line 1)",
    ),
    "import calls sys.exit": rejected(
        "import sys\nsys.exit(3)\n",
        "my_plugin ends the program while it is imported (SystemExit: 3): put what it runs into a "
        "function",
    ),
    # Entry points
    "another interface version": rejected(
        "raise SystemExit('imported, and must not be')\n",
        "written for the plugin interface ptb.v2, and this version has ptb.v1: install a version "
        "of ptb-odd for ptb.v1, or another posttrainbench",
        "[ptb.v2]\nmine = my_plugin\n",
    ),
    "a misspelt group": rejected(
        "raise SystemExit('imported, and must not be')\n",
        "stands in the entry-point group 'ptb_v1', which nothing reads: name the group 'ptb.v1' "
        "in its pyproject.toml and install it again",
        "[ptb_v1]\nmine = my_plugin\n",
    ),
    "a damaged entry_points.txt": Way(
        says=(
            "? unusable the whole plugin [ptb-odd 1.0, entry point ?]",
            "its entry_points.txt cannot be read (line 2 is 'this is no entry point', which is not "
            "`name = module`): build and install ptb-odd again, or uninstall it",
        ),
        entry_points="[ptb.v1]\nthis is no entry point\n",
        refusal="It may belong to a plugin that is not loaded (ptb-odd 1.0 (entry point ?))",
    ),
    "an entry_points.txt that is no UTF-8": Way(
        says=(
            "? unusable the whole plugin [ptb-odd 1.0, entry point ?]",
            "its entry_points.txt cannot be read (its byte 0xe9 is no UTF-8): build and install "
            "ptb-odd again, or uninstall it",
        ),
        entry_points="[ptb.v1]\nmin\udce9",
        refusal="It may belong to a plugin that is not loaded (ptb-odd 1.0 (entry point ?))",
    ),
    "an entry point named twice": Way(
        code=FINE,
        entry_points="[ptb.v1]\nmine = my_plugin\nmine = my_plugin:x\n",
        says=(
            WHOLE,
            "ptb-odd has 2 entry points of that name, so none of them is loaded: give each a name "
            "of its own in its pyproject.toml",
        )
        * 2,
        refusal="It may belong to a plugin that is not loaded (ptb-odd 1.0 (entry point mine)",
    ),
    "a module named by two entry points": Way(
        code=hook("return [spec('riddles')]"),
        entry_points="[ptb.v1]\nmine = my_plugin\nother = my_plugin\n",
        says=(
            "riddles unusable D. [ptb-odd 1.0, entry point mine]",
            "described only: its evaluation code is not part of ptb-odd 1.0",
            "other unusable the whole plugin [ptb-odd 1.0, entry point other]",
            "names what ptb-odd 1.0 (entry point mine) has brought already, so it is not loaded a "
            "second time: remove one of the two entry points, or give the modules different names",
        ),
        refusal="It may belong to a plugin that is not loaded (ptb-odd 1.0 (entry point other))",
    ),
    "an entry point names a class": rejected(
        f"{ONE_TASK}\nclass Plugin:\n    @hookimpl\n    def ptb_register_tasks(self): return []\n",
        "names the class Plugin: name an instance of it, or the module",
        "[ptb.v1]\nmine = my_plugin:Plugin\n",
    ),
    "an entry point names a hook": rejected(
        hook("return []"),
        "names the function ptb_register_tasks: name the module that holds it",
        "[ptb.v1]\nmine = my_plugin:ptb_register_tasks\n",
    ),
    "an object that raises when it is looked at": rejected(
        "class Odd:\n    @property\n    def thing(self): raise ValueError('no')\nodd = Odd()\n",
        "its hooks cannot be looked at: ValueError: no",
        "[ptb.v1]\nmine = my_plugin:odd\n",
    ),
    "nothing is brought": rejected(
        "x = 1\n", "brings nothing: it has no hook, and no tasks/*.json or models/*.json"
    ),
    # Hooks that are none
    "a misspelt hook": rejected(
        f"{ONE_TASK}\n@hookimpl\ndef ptb_register_task(): return []\n",
        f"unknown hook ptb_register_task (did you mean 'ptb_register_tasks'?); the hooks are "
        f"{HOOKS}",
    ),
    "an unmarked hook": rejected(
        "def ptb_register_tasks(): return []\n",
        "ptb_register_tasks is not marked: put @hookimpl from ptb_core.api above it",
    ),
    "a hook with an argument": rejected(
        f"{ONE_TASK}\n@hookimpl\ndef ptb_register_tasks(config): return []\n",
        "ptb_register_tasks takes the argument config; a hook takes none",
    ),
    "a hook with arguments": rejected(
        f"{ONE_TASK}\n@hookimpl\ndef ptb_register_tasks(config, *, strict): return []\n",
        "ptb_register_tasks takes the arguments config, strict; a hook takes none",
    ),
    "an async hook": rejected(
        f"{ONE_TASK}\n@hookimpl\nasync def ptb_register_tasks(): return []\n",
        "ptb_register_tasks is async; a hook is a plain function",
    ),
    "a wrapping hook": rejected(
        f"{ONE_TASK}\n@hookimpl(wrapper=True)\ndef ptb_register_tasks(): return (yield)\n",
        "ptb_register_tasks is a wrapper; a hook is a plain function",
    ),
    # Hooks that give a wrong thing
    "a hook raises": disabled("raise ValueError('no')", "ptb_register_tasks raised ValueError: no"),
    "a hook calls sys.exit": disabled(
        "import sys; sys.exit('bye')", "ptb_register_tasks raised SystemExit: bye"
    ),
    "a hook raises half-way": dropped(
        "yield Capitals(spec('capitals')); raise ValueError('no')",
        "ptb_register_tasks raised ValueError: no",
    ),
    "a hook returns nothing": disabled(
        "pass",
        "ptb_register_tasks returned None (NoneType); expected an iterable of Task or TaskSpec",
    ),
    "a hook returns a text": disabled(
        "return 'capitals'",
        "ptb_register_tasks returned 'capitals' (str); expected an iterable of Task or TaskSpec",
    ),
    "a hook returns a mapping": disabled(
        "return {}",
        "ptb_register_tasks returned {} (dict); expected an iterable of Task or TaskSpec",
    ),
    "a hook yields another type": dropped(
        "return [Capitals(spec('capitals')), 'x']",
        "ptb_register_tasks yielded 'x' (str); expected Task or TaskSpec",
    ),
    "a hook yields a component of another kind": Way(
        code=f"{ONE_MODEL}\n@hookimpl\ndef ptb_register_tasks(): return [model('a')]\n",
        says=(
            ITS_TASKS,
            "ptb_register_tasks yielded the ModelSpec 'a'; expected Task or TaskSpec; "
            "ptb_register_models is the hook for it",
        ),
    ),
    "a hook yields a class": disabled(
        "return [Capitals]",
        "ptb_register_tasks yielded the class Capitals; expected an instance: Capitals(spec)",
    ),
    "a hook yields a component with a wrong spec": disabled(
        "return [Capitals('capitals')]",
        "ptb_register_tasks yielded a Capitals whose spec is 'capitals' (str); expected a TaskSpec",
    ),
    "a hook yields a name that is no text": disabled(
        "return [spec(5)]",
        "ptb_register_tasks yielded a TaskSpec whose name is 5 (int); expected a string",
    ),
    "a component lacks a method": disabled(
        "return [type('Half', (Task,), {'samples': Capitals.samples})(spec('half'))]",
        "ptb_register_tasks raised TypeError: Can't instantiate abstract class Half with abstract "
        "methods aggregate, requests, score",
    ),
    "a generator without end": disabled(
        "import itertools; return (Capitals(spec(f'a{i}')) for i in itertools.count())",
        "ptb_register_tasks yielded more than 10000 components, and may never end",
    ),
    "a hook reads a manifest that is not there": disabled(
        "from pathlib import Path; from ptb_core.api import load_manifest; "
        "return [load_manifest(Path('/no/such.json'), TaskSpec)]",
        "ptb_register_tasks: /no/such.json: cannot be read: No such file or directory",
    ),
    # Components
    "facts in code break the schema": faulty(
        hook(
            "import dataclasses; "
            "return [Capitals(dataclasses.replace(spec('capitals'), n_samples=0, metric=''))]"
        ),
        "its spec: 2 faults\n"
        '$.metric: found ""; expected at least 1 character: Name of the metric in words, such as '
        "accuracy\n"
        "$.n_samples: found 0; expected a number of at least 1: Number of test samples of the "
        "full task",
    ),
    "unusable_reason raises": faulty(
        f"{ONE_TASK}\nclass Odd(Capitals):\n    def unusable_reason(self): return 1 / 0\n"
        "@hookimpl\ndef ptb_register_tasks(): return [Odd(spec('capitals'))]\n",
        "its unusable_reason() raised ZeroDivisionError: division by zero",
    ),
    "unusable_reason returns another type": faulty(
        f"{ONE_TASK}\nclass Odd(Capitals):\n    def unusable_reason(self): return True\n"
        "@hookimpl\ndef ptb_register_tasks(): return [Odd(spec('capitals'))]\n",
        "its unusable_reason() returned True; expected a sentence or None",
    ),
    "broken JSON": manifest(
        '{"name": "riddles",}',
        "SITE/my_facts/tasks/riddles.json: 1 fault\n"
        "$: found no JSON at line 1, column 20: Expecting property name enclosed in double quotes "
        '("{\\"name\\": \\"riddles\\",}"); expected no comma after the last value',
    ),
    "an empty manifest": manifest(
        "",
        "SITE/my_facts/tasks/riddles.json: 1 fault\n"
        "$: found no JSON at line 1, column 1: Expecting value; expected a JSON object; the file "
        "is empty",
    ),
    "a key twice": manifest(
        task()[:-1] + ', "max_tokens": 9}',
        "SITE/my_facts/tasks/riddles.json: 1 fault\n"
        "$.max_tokens: found the key 'max_tokens' more than once; expected each key once",
        what="Riddles. ",
    ),
    "a manifest named otherwise": manifest(
        task(name="puzzles"),
        "SITE/my_facts/tasks/riddles.json: 1 fault\n"
        "$.name: found 'puzzles'; expected 'riddles', the manifest's file name",
        name="puzzles",
        what="Riddles. ",
    ),
    "a source that names two places": lone_model(
        "SITE/my_facts/models/tiny.json: 1 fault\n"
        "$.source: found hub and url; expected exactly one of packaged, hub, wheel, url",
        source={"hub": "a/b", "url": "https://a/b", "sha256": "0" * 64},
        chat_template="x.jinja",
    ),
    "a source outside of the manifest's folder": lone_model(
        "SITE/my_facts/models/tiny.json: 1 fault\n"
        "$.source.packaged: found SITE/my_facts/models/../weights; expected a path below the "
        "manifest's folder SITE/my_facts/models",
        source={"packaged": "../weights"},
        chat_template="x.jinja",
    ),
    "a template that is not there": lone_model(
        "SITE/my_facts/models/tiny.json: 1 fault\n"
        "$.chat_template: found SITE/my_facts/models/tiny.jinja, which does not exist; expected a "
        "Jinja file",
    ),
    # Names
    "a name brought twice": twins("twin", "'twin'"),
    "a name brought in another case": twins("Twin", "'twin' and 'Twin'"),
    "a name brought twice by one plugin": Way(
        code=models("twin", "twin"),
        says=(
            "twin unusable A model. [ptb-odd 1.0, entry point mine]",
            "the model 'twin' is brought 2 times by ptb-odd 1.0 (entry point mine), so none of "
            "them is used: give each a name of its own; capitals do not count",
        )
        * 2,
        needs=("model", "twin"),
        refusal="model twin of ptb-odd 1.0: the model 'twin' is brought 2 times",
    ),
    "a name of a built-in component": Way(
        code=models("qwen3-4b-base"),
        says=(
            "qwen3-4b-base unusable A model. [ptb-odd 1.0, entry point mine]",
            "the model 'qwen3-4b-base' is brought by posttrainbench VERSION (entry point "
            "builtin-models) and ptb-odd 1.0 (entry point mine), so none of them is used: "
            "keep one and uninstall the rest, or switch it off, for example with "
            "PTB_DISABLE_PLUGINS=mine",
        ),
        needs=("model", "qwen3-4b-base"),
        refusal="and ptb-odd 1.0 (entry point mine), so none of them is used",
    ),
    # Plugins that work, and cost or say something
    "print at import": noted(
        "print('hello')\n" + FINE, "printed while it was loaded, and should not: 'hello'"
    ),
    "print on stderr": noted(
        "import sys\nprint('hello', file=sys.stderr)\n" + FINE,
        "printed while it was loaded, and should not: 'hello'",
    ),
    "print by a child process": noted(
        "import subprocess\nsubprocess.run(['echo', 'hello'])\n" + FINE,
        "printed while it was loaded, and should not: 'hello'",
    ),
    "print in a hook": noted(
        hook("print('hello' * 99); return [Capitals(spec('capitals'))]"),
        f"printed while it was loaded, and should not: '{'hello' * 24}...'",
    ),
    "a slow import": noted(
        "import ptb_test_clock\nptb_test_clock.now += 0.75\n" + FINE,
        "is slow: its import took 0.75 s, and should take less than 0.2 s, because every ptb "
        "command waits for it",
    ),
    "a slow hook": noted(
        hook("import ptb_test_clock; ptb_test_clock.now += 3; return [Capitals(spec('capitals'))]"),
        "is slow: its hook ptb_register_tasks took 3.00 s, and should take less than 0.2 s, "
        "because every ptb command waits for it",
    ),
    "a heavy import": Way(
        code="import jax, vllm\n" + FINE,
        files={"jax.py": "", "vllm.py": ""},
        says=(
            USABLE,
            f"{NOTE}imports jax, vllm while it is loaded, which is slow for every ptb command: "
            "move that import into the function that needs it",
        ),
        refusal="",
    ),
    "manifests of a kind that needs code": Way(
        files={"my_facts/tasks/riddles.json": task(), "my_facts/scaffolds/robot.json": "{}"},
        entry_points=FACTS,
        says=(
            "riddles unusable Riddles. [ptb-odd 1.0, entry point facts]",
            "described only: its evaluation code is not part of ptb-odd 1.0",
            "note: ptb-odd 1.0 (entry point facts) has JSON files under scaffolds/ that are "
            "ignored: a scaffold needs code and a hook",
        ),
        needs=("task", "riddles"),
        refusal="task riddles of ptb-odd 1.0: described only: its evaluation code is not part of",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to be broken, and the folder that holds the distribution ``ptb-odd`` of that kind."""

    way: Way
    site: Site


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS.keys())
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Each way in turn, installed and loaded once; the clock stands unless the plugin moves it."""
    way: Way = request.param
    clock = ModuleType("ptb_test_clock")
    clock.now = 0.0  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch, temporary_site() as site:
        patch.setitem(sys.modules, clock.__name__, clock)
        timed = functools.partial(load_plugins, clock=lambda: clock.now)
        patch.setattr(ptb_core.catalogue, "load_plugins", timed)
        site.install("ptb-odd", {"my_plugin.py": way.code, **way.files}, way.entry_points)
        load_catalogue()
        yield Case(way=way, site=site)


def said_of(distribution: str, text: str) -> tuple[str, ...]:
    """Return what `ptb list` says of a distribution: each row's line, and its reason behind it."""
    said: list[str] = []
    depth = 0
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if f"[{distribution} " in line:
            said += [" ".join(line.split()), ""]
            depth = indent
        elif line.startswith(f"note: {distribution} "):
            said.append(line)
        elif depth and indent > depth:
            said[-1] = f"{said[-1]}\n{line.strip()}".lstrip("\n")
        else:
            depth = 0
    return tuple(line for line in said if line)


def general(text: str, site: Site) -> str:
    """Return a text with what differs between machines replaced."""
    from importlib.metadata import version

    text = text.replace(str(site.folder), "SITE").replace(
        f"posttrainbench {version('posttrainbench')}", "posttrainbench VERSION"
    )
    return text.replace(str(Path(ptb_core.__file__).parent), "CORE")


def plan_with(folder: Path, needs: tuple[str, str] | None) -> Path:
    """Write a plan; ``needs`` puts a component in the place of a built-in one."""
    plan = {**PLAN, **({f"{needs[0]}s": [needs[1]]} if needs else {})}
    path = folder / "small.json"
    path.write_text(json.dumps(plan), "utf-8")
    return path


def test_the_list_says_the_whole_sentence_and_shows_the_built_in_components(case, capsys):
    assert main(["list"]) == 0
    text = general(capsys.readouterr().out, case.site)
    assert said_of("ptb-odd", text) == case.way.says
    assert re.search(r"^  gsm8k +usable ", text, re.MULTILINE)
    assert "Traceback" not in text


def test_a_plan_that_does_not_need_the_broken_part_is_run(case, tmp_path, monkeypatch):
    driven = []
    monkeypatch.setattr(ptb_core.driver, "drive", lambda *_: not driven.append(1))
    plan = plan_with(tmp_path, None)
    assert main(["validate", str(plan)]) == 0
    assert main(["run", "--plan", str(plan), "--run-dir", str(tmp_path / "run")]) == 0
    assert driven == [1]


def test_a_plan_that_needs_it_is_refused_with_its_name_before_anything_starts(
    case, tmp_path, capsys
):
    run = tmp_path / "run"
    plan = plan_with(tmp_path, case.way.needs)
    arguments = ["run", "--plan", str(plan), "--run-dir", str(run)]
    if not case.way.refusal:
        assert main([*arguments, "--dry-run"]) == 0
        return
    assert main(arguments) == 2
    text = general(capsys.readouterr().err, case.site)
    assert text.startswith("ptb: ")
    assert case.way.refusal in re.sub(r"\n +", "\n", text)
    assert "Traceback" not in text
    assert not run.exists()
