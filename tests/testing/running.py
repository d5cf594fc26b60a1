"""Running single checks on deliberately wrong components."""

from __future__ import annotations

from typing import Any

import pytest

from ptb_core.testing import BrokenPromiseError


def checked(suite: type[Any], component: object, method: str, **attributes: object) -> None:
    """Run one check on a component, with its preparation and clean-up."""
    members = {"make": lambda self: component, **attributes}
    subclass = type("Checked", (suite,), members)
    check = subclass()
    check.setup_method()
    try:
        getattr(check, method)()
    finally:
        check.teardown_method()
        getattr(subclass, "teardown_class", lambda: None)()


def broken(suite: type[Any], component: object, method: str, **attributes: object) -> str:
    """Return what a check says about a component that must not pass it."""
    with pytest.raises(BrokenPromiseError) as caught:
        checked(suite, component, method, **attributes)
    return str(caught.value)
