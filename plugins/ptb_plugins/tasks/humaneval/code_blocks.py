"""Which part of an answer is the code, and the program that it makes.

Source: docs/protocol.md, "humaneval"; golden rows of humaneval.
"""

from __future__ import annotations

from dataclasses import dataclass

FENCES = ("```python\n", "```\n")
"""Openings of a code block that count, the first kind before the second."""

FENCE_END = "```"
BODY_START = ":\n    "
LONGEST_ARGUMENT_BYTES = 131_071
"""Longest single argument of a process. The published code hands the program over as one.

Source: Linux, MAX_ARG_STRLEN less the final NUL; golden README, "HumanEval".
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a program is made of besides the model's code.

    Attributes:
        prompt: Imports, helpers, signature and docstring.
        entry_point: Name of the function to write.
        test: Code that defines ``check(candidate)``.
    """

    prompt: str
    entry_point: str
    test: str

    def program(self, code: str) -> str:
        """Return the program that tests ``code``, which stands directly after the prompt."""
        return f"{self.prompt}{code}\n{self.test}\ncheck({self.entry_point})"


def fenced_block(text: str) -> str | None:
    """Return what the first code block of a kind that counts holds, or None."""
    for fence in FENCES:
        start = text.find(fence)
        if start < 0:
            continue
        end = text.find(FENCE_END, start + len(fence))
        if end >= 0:
            return text[start + len(fence) : end]
    return None


def published_code(text: str) -> str:
    r"""Return the code as the published scorer takes it.

    A block is cut to what follows its first ``":\n    "``, wherever that is; one without any
    loses its first character. A text without a block is code as a whole.
    """
    block = fenced_block(text)
    return text if block is None else block[block.find(BODY_START) + 2 :]


def repaired_code(text: str) -> str:
    """Return the code that the answer means: the first block, whole.

    A block that defines the function is a function of its own, imports and helpers included: it
    replaces the one that the prompt begins, which is whole with its docstring. Any other block
    continues the prompt as the function's body. A text without a block is code as a whole, as
    published.
    """
    block = fenced_block(text)
    return text if block is None else block


def dies_of(program: str) -> bool:
    """Tell whether the published code raises instead of running a program.

    It hands the program over as an argument, which takes no NUL character, no lone surrogate that
    stands for no byte, and no more than :data:`LONGEST_ARGUMENT_BYTES`.
    """
    try:
        content = program.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return True
    return b"\0" in content or len(content) > LONGEST_ARGUMENT_BYTES


def can_run(program: str) -> bool:
    """Tell whether a program is a text that Python can be given at all."""
    try:
        program.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in program
