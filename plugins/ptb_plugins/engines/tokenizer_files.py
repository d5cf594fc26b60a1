"""Tokenizer data as files: whether a folder holds a vocabulary at all.

Needs nothing but Python: it runs where engines run.
"""

from __future__ import annotations

from pathlib import Path

from ptb_plugins.engines.faults import CheckpointFault

VOCABULARY_FILES = frozenset({"tokenizer.json", "tekken.json", "vocab.txt"})
VOCABULARY_SUFFIXES = (".model", ".tiktoken")
"""Files that each hold a whole vocabulary; vocab.json needs merges.txt beside it."""


def require_tokenizer(folder: Path) -> None:
    """Refuse a folder without vocabulary, of which transformers makes an empty tokenizer.

    Raises:
        CheckpointFault: With the reason.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    single = any(name.endswith(VOCABULARY_SUFFIXES) for name in names)
    if single or names & VOCABULARY_FILES or {"vocab.json", "merges.txt"} <= names:
        return
    raise CheckpointFault(
        f"{folder} holds no tokenizer: expected tokenizer.json, a .model file, or vocab.json with "
        "merges.txt; save it with the tokenizer's save_pretrained"
    )
