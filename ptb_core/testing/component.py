"""What the conformance classes of all kinds share: the component, a folder, common checks.

A conformance class is a plain class. pytest collects its subclasses, ``ptb check`` runs it
without pytest, and neither needs anything but its methods: ``test_<sentence>`` is a check,
``setup_method`` and ``teardown_method`` stand around each. A check that cannot run here raises
``unittest.SkipTest`` with the reason.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import msgspec

from ptb_core.canonical import canonical_json
from ptb_core.catalogue import load_catalogue
from ptb_core.interfaces import Component
from ptb_core.manifests import SPEC_TYPES, manifest_of
from ptb_core.schemas import faults
from ptb_core.spec_rules import ComponentSpec, rule_faults
from ptb_core.specs import Kind
from ptb_core.testing.elsewhere import Blueprint, Probed, blueprint_of, do_elsewhere
from ptb_core.testing.expectation import expect

ComponentT = TypeVar("ComponentT")

REASON_LIMIT_S = 0.05
"""Five times what is promised for ``unusable_reason()``, so that a busy machine fails nobody."""


class SpecConformance(Generic[ComponentT]):
    """What holds for whatever a hook may yield, bare specs included.

    Attributes:
        kind: Kind of the component; set by the class of each kind.
        name: Registered name of the component under check: ``ptb list`` shows it. Without one,
            override :meth:`make`.
        limit_s: Seconds after which ``ptb check`` ends a check and reports it as failed.
    """

    kind: ClassVar[Kind]
    name: str = ""
    limit_s: ClassVar[float] = 120

    def make(self) -> ComponentT:
        """Return the component under check; the registered one of :attr:`name` by default."""
        expect(self.name, f"{type(self).__name__} must set name, or override make()")
        found = load_catalogue().get(self.kind, self.name, allow_unusable=True)
        return cast("ComponentT", found)

    def setup_method(self) -> None:
        """Make the component and a fresh folder, :attr:`tmp`; skip where it is unusable."""
        self.component = self.make()
        self.skip_unless_usable()
        self.after = ExitStack()
        self.tmp = Path(tempfile.mkdtemp(prefix="ptb-check-")).resolve()

    def teardown_method(self) -> None:
        """Run what was put into :attr:`after` and remove the folder."""
        try:
            self.after.close()
        finally:
            remove_tree(self.tmp)

    def skip_unless_usable(self) -> None:
        """Skip where the component says that this machine cannot use it."""

    @property
    def spec(self) -> ComponentSpec:
        """The component's facts."""
        spec = getattr(self.component, "spec", self.component)
        return cast("ComponentSpec", spec)

    # Checks -------------------------------------------------------------------------------

    def test_its_facts_pass_the_schema_and_the_rules(self) -> None:
        """Its manifest, or its spec, has no fault that ``ptb list`` would report."""
        found = faults(msgspec.json.decode(canonical_json(self.spec)), self.kind)
        found += rule_faults(self.spec, manifest_of(self.spec))
        texts = "; ".join(map(str, found))
        expect(not found, f"its facts must pass the schema and rules of a {self.kind}; {texts}")

    def test_its_facts_survive_json(self) -> None:
        """Its spec, written as JSON and read again, is the same spec."""
        again: object = msgspec.json.decode(canonical_json(self.spec), type=SPEC_TYPES[self.kind])
        expect(
            again == self.spec,
            f"its spec must survive JSON; {self.spec!r:.200} became {again!r:.200}",
        )

    def test_it_is_registered_under_the_name_of_its_spec(self) -> None:
        """The catalogue finds it under the name that its spec states."""
        if not self.name:
            raise unittest.SkipTest("make() is overridden, so no registered name is under check")
        expect(
            self.spec.name == self.name,
            f"the component {self.name!r} must state its own name; its spec says "
            f"{self.spec.name!r}",
        )


class ComponentConformance(SpecConformance[ComponentT]):
    """What holds for every component with behaviour."""

    _seen: ClassVar[tuple[Blueprint, Probed, str] | None] = None

    def skip_unless_usable(self) -> None:
        """Skip with the component's own reason."""
        reason = self._component.unusable_reason()
        if reason:
            raise unittest.SkipTest(f"not usable on this machine: {reason}")

    def test_it_can_be_built_in_another_process_from_its_spec_alone(self) -> None:
        """Core rebuilds components at will: ``Class(spec)`` gives an equal one anywhere."""
        again = self._probe().spec
        expect(
            canonical_json(again) == canonical_json(self.spec),
            f"{self._class} built from a spec must hold that very spec; it holds {again!r:.200}",
        )

    def test_it_holds_no_state_besides_its_spec(self) -> None:
        """An instance has no attribute of its own but ``spec``."""
        found = sorted(set(self._probe().attributes) | set(vars(self._component)) - {"spec"})
        expect(
            not found,
            f"{self._class} must hold nothing but its spec, because core builds it anew at any "
            f"time; it also holds {', '.join(found)}",
        )

    def test_loading_it_imports_nothing_heavy(self) -> None:
        """Loading and ``unusable_reason()`` import no torch, transformers or the like."""
        heavy = ", ".join(self._probe().heavy)
        expect(
            not heavy,
            f"loading {self._class} must import nothing heavy; it imports {heavy}. Import it "
            "inside the method that needs it",
        )

    def test_loading_it_prints_nothing(self) -> None:
        """Nothing is written to standard output while it is loaded."""
        _, printed = self._probed()
        expect(not printed, f"loading {self._class} must print nothing; it printed {printed!r:.80}")

    def test_unusable_reason_returns_a_sentence_or_none(self) -> None:
        """``unusable_reason()`` returns None, or says what to install or do."""
        reason: object = self._component.unusable_reason()
        is_sentence = isinstance(reason, str) and reason.strip() != ""
        expect(
            reason is None or is_sentence,
            f"unusable_reason() must return a sentence or None; it returned {reason!r:.80}",
        )

    def test_unusable_reason_is_cheap(self) -> None:
        """``unusable_reason()`` takes milliseconds: it fills a column of ``ptb list``."""
        took = self._probe().reason_s
        expect(
            took <= REASON_LIMIT_S,
            f"unusable_reason() must take under 10 ms; at its fastest it took {took * 1000:.0f} ms",
        )

    def test_unusable_reason_asks_neither_network_nor_programs(self) -> None:
        """``unusable_reason()`` opens no connection and starts no program."""
        reached = "; ".join(self._probe().reached)
        expect(
            not reached,
            f"unusable_reason() must use neither the network nor other programs; it did: {reached}",
        )

    @property
    def _component(self) -> Component[Any]:
        return cast("Component[Any]", self.component)

    @property
    def _class(self) -> str:
        return f"{type(self.component).__module__}.{type(self.component).__qualname__}"

    def _probe(self) -> Probed:
        return self._probed()[0]

    def _probed(self) -> tuple[Probed, str]:
        """Return what another process saw of the component, and what it printed; asked once."""
        blueprint = blueprint_of(self._component, self.kind)
        known = type(self)._seen
        if known is None or known[0] != blueprint:
            answer = do_elsewhere("probe", blueprint)
            probed = msgspec.json.decode(answer.result, type=Probed)
            known = type(self)._seen = (blueprint, probed, answer.printed)
        return known[1], known[2]


def remove_tree(folder: Path) -> None:
    """Remove a folder, closed folders in it included."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
