"""What every base model promises: a template that renders, real tokens and architecture."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import cast

from ptb_core.errors import DataError
from ptb_core.specs import JsonValue, ModelSpec
from ptb_core.testing.component import SpecConformance
from ptb_core.testing.expectation import expect, unraised

_SYSTEM = {"role": "system", "content": "You are brief."}
_USER = {"role": "user", "content": "What is two and two? <&> ünï"}
_TURNS = (
    _USER,
    {"role": "assistant", "content": "It is four."},
    {"role": "user", "content": "And three?"},
)


class ModelConformance(SpecConformance[ModelSpec]):
    """Checks of a base model's facts.

    Attributes:
        takes_system: False when the family's template refuses system messages.
    """

    kind = "model"
    takes_system: bool = True

    def files(self) -> Path:
        """Return the folder of the model's files; by default what is on this machine already.

        Raises:
            unittest.SkipTest: If they are not.
        """
        from ptb_core.fetch import ensure_model

        try:
            return ensure_model(self.component, offline=True).path
        except DataError as error:
            raise unittest.SkipTest(
                "its weights are not on this machine: run "
                f"`ptb prefetch --model {self.component.name}`"
            ) from error

    def test_its_template_renders_a_question(self) -> None:
        """The chat template renders a user's message and keeps its text unchanged."""
        text = self._rendered((_USER,))
        expect(
            _USER["content"] in text,
            f"the chat template must print the user's words unchanged; it printed {text!r:.200}",
        )

    def test_its_template_renders_a_system_message(self) -> None:
        """The chat template renders a system message before the user's."""
        if not self.takes_system:
            raise unittest.SkipTest("takes_system is False: the family knows no system message")
        text = self._rendered((_SYSTEM, _USER))
        first, second = text.find(_SYSTEM["content"]), text.find(_USER["content"])
        expect(
            -1 < first < second,
            f"the chat template must print the system message, then the user's; it printed "
            f"{text!r:.200}",
        )

    def test_its_template_renders_several_turns_in_order(self) -> None:
        """The chat template renders a conversation in its order."""
        text = self._rendered(_TURNS)
        places = [text.find(turn["content"]) for turn in _TURNS]
        expect(
            -1 not in places and places == sorted(places),
            f"the chat template must print all turns in order; it printed {text!r:.200}",
        )

    def test_its_template_ends_with_the_generation_prompt(self) -> None:
        """With ``add_generation_prompt`` the text goes on after the last turn, else it does not."""
        without = self._rendered(_TURNS, generation=False)
        text = self._rendered(_TURNS)
        expect(
            text.startswith(without) and len(text) > len(without),
            "the chat template must add a generation prompt after the last turn; with and "
            f"without it ends {text[-40:]!r} and {without[-40:]!r}",
        )

    def test_its_template_ends_turns_with_a_declared_token(self) -> None:
        """What ends an assistant's turn in the template is one of ``turn_end_tokens``."""
        text = self._rendered(_TURNS[:2], generation=False)
        after = text[text.find("It is four.") + len("It is four.") :].strip()
        tokens = self.component.turn_end_tokens
        expect(
            any(after.startswith(token) for token in tokens),
            f"an assistant's turn must end with one of {', '.join(tokens)}; the template prints "
            f"{after[:40]!r}",
        )

    def test_its_turn_end_tokens_are_known_to_its_tokenizer(self) -> None:
        """Each of ``turn_end_tokens`` is one token of the model's tokenizer."""
        known = _tokens(self.files())
        unknown = [token for token in self.component.turn_end_tokens if token not in known]
        expect(
            not unknown,
            f"turn_end_tokens must be single tokens of the tokenizer; {', '.join(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} none",
        )

    def test_its_architecture_is_that_of_its_config(self) -> None:
        """The first of ``architectures`` is what config.json names."""
        config = _json(self.files() / "config.json")
        found = config.get("architectures")
        expect(
            isinstance(found, list) and self.component.architectures[:1] == tuple(found[:1]),
            f"the first architecture must be that of config.json, {found!r}; the manifest says "
            f"{list(self.component.architectures)!r}",
        )

    def test_its_context_fits_its_config(self) -> None:
        """``context_tokens`` is not more than the positions that config.json allows."""
        allowed = _json(self.files() / "config.json").get("max_position_embeddings")
        if not isinstance(allowed, int):
            raise unittest.SkipTest("config.json states no max_position_embeddings")
        expect(
            self.component.context_tokens <= allowed,
            f"context_tokens must be at most config.json's {allowed}; it is "
            f"{self.component.context_tokens}",
        )

    def _rendered(self, turns: tuple[dict[str, str], ...], generation: bool = True) -> str:
        source = Path(self.component.chat_template).read_text("utf-8")
        return cast(
            "str",
            unraised(
                "the chat template must render plain conversations",
                lambda: render(source, turns, generation),
            ),
        )


def render(source: str, turns: tuple[dict[str, str], ...], generation: bool) -> str:
    """Render a chat template in the sandboxed Jinja that transformers uses for them."""
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise unittest.SkipTest(
            "Jinja is not installed: pip install 'posttrainbench[evaluation]'"
        ) from error

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: "2026-01-01"
    return environment.from_string(source).render(
        messages=list(turns),
        add_generation_prompt=generation,
        bos_token="<bos>",
        eos_token="<eos>",
        tools=None,
    )


def _json(path: Path) -> dict[str, JsonValue]:
    content = json.loads(path.read_bytes())
    return content if isinstance(content, dict) else {}


def _tokens(folder: Path) -> set[str]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise unittest.SkipTest(f"{folder} holds no tokenizer.json")
    content = _json(path)
    added = {token["content"] for token in content.get("added_tokens", [])}
    vocabulary = content.get("model", {}).get("vocab", {})
    return added | set(vocabulary if isinstance(vocabulary, dict) else ())
