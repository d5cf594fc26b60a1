"""How a check says what was promised and what it met instead."""

from __future__ import annotations

from collections.abc import Callable


class BrokenPromiseError(AssertionError):
    """A component did not keep a promise of its interface; the text says which and how."""


def expect(condition: object, sentence: str) -> None:
    """Raise with a sentence unless a condition holds; unlike ``assert``, also under ``python -O``.

    Args:
        condition: Anything; its truth counts.
        sentence: What was expected of the component and what it did.

    Raises:
        BrokenPromiseError: If the condition does not hold.
    """
    if not condition:
        raise BrokenPromiseError(sentence)


def expect_error(kind: type[Exception], promise: str, action: Callable[[], object]) -> str:
    """Do something that must be refused, and return the text of the refusal.

    Args:
        kind: The exception that is promised.
        promise: What was done, as the beginning of a sentence: ``put() of a missing file``.
        action: Does it.

    Raises:
        BrokenPromiseError: If nothing, or another exception, is raised.
    """
    try:
        returned = action()
    except kind as error:
        return str(error)
    except Exception as error:
        found = f"it raised {type(error).__name__}: {error}"
        raise BrokenPromiseError(f"{promise} must raise {kind.__name__}; {found}") from error
    raise BrokenPromiseError(f"{promise} must raise {kind.__name__}; it returned {returned!r:.80}")


def unraised(promise: str, action: Callable[[], object]) -> object:
    """Do something that must not raise, and return what it gave.

    Raises:
        BrokenPromiseError: If an exception is raised.
    """
    try:
        return action()
    except Exception as error:
        found = f"it raised {type(error).__name__}: {error}"
        raise BrokenPromiseError(f"{promise}; {found}") from error
