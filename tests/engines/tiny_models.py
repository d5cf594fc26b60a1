"""A Qwen3-shaped model of two layers, trained for seconds, that tests serve for real."""

from __future__ import annotations

import datetime
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'system' %}{{ strftime_now('%d %B %Y') }}\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT_TOKENS = 256


def sums(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(count)]
    return [f"{a} plus {b} is {a + b}" for a, b in pairs]


def chats(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(count)]
    return [
        f"<|im_start|>user\nWhat is {a} plus {b}?<|im_end|>\n<|im_start|>assistant\n"
        f"It is {a + b}.<|im_end|>\n<|endoftext|>"
        for a, b in pairs
    ]


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {}},
    },
}
CALLS = {
    "add 3 4": '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call>',
    "add 5 2": 'Let me.\n<tool_call>\n{"name": "add", "arguments": {"a": 5, "b": 2}}\n</tool_call>',
}
"""What a taught model answers to these messages when it has the tool :data:`ADD`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """An answer to be known by heart."""

    messages: Sequence[Mapping[str, Any]]
    answer: str
    tools: Sequence[Mapping[str, Any]] = ()


def teach(source: Path, folder: Path, lessons: Sequence[Lesson], steps: int = 600) -> Path:
    """Teach a tiny model answers by heart, and let it read 4096 tokens; 20 to 60 s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    rows = [_row(tokenizer, lesson) for lesson in lessons]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(steps):
        worst = 0.0
        for ids, labels in rows:
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            worst = max(worst, float(loss.detach()))
        if worst < KNOWN_BY_HEART_LOSS:
            break
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.config.max_position_embeddings = 4096
    model.eval().save_pretrained(folder)
    return folder


KNOWN_BY_HEART_LOSS = 0.01


def _row(tokenizer: Any, lesson: Lesson) -> tuple[Any, Any]:
    import torch

    prompt = tokenizer.apply_chat_template(
        list(lesson.messages),
        tools=list(lesson.tools) or None,
        chat_template=TEMPLATE,
        add_generation_prompt=True,
        tokenize=False,
        strftime_now=lambda form: datetime.date(2026, 1, 1).strftime(form),
    )
    known = tokenizer(prompt)["input_ids"]
    learnt = tokenizer(f"{lesson.answer}<|im_end|>\n<|endoftext|>")["input_ids"]
    labels = [-100] * len(known) + learnt
    return torch.tensor([known + learnt]), torch.tensor([labels])


def build_tiny_model(folder: Path, steps: int = 200) -> Path:
    """Train and save model, tokenizer and generation_config.json; about 10 s."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    texts = ["\n".join(sums(12, seed)) for seed in range(150)] + [
        "".join(chats(9, seed)) for seed in range(150)
    ]
    tokenizer = _tokenizer(texts)
    model = _model(len(tokenizer))
    batches = [tokenizer(text)["input_ids"][:64] for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = random.Random(0)
    for _ in range(steps):
        rows = [row for row in rng.sample(batches, 20) if len(row) == 64]
        ids = torch.tensor(rows)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_generation_config(folder, eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT))
    (folder / "template.jinja").write_text(TEMPLATE, "utf-8")
    return folder


def build_unservable_model(source: Path, folder: Path) -> Path:
    """Save random weights of an architecture that vLLM loads on a CPU and dies of when asked."""
    from transformers import AutoTokenizer

    shutil.copytree(source, folder)
    _model(len(AutoTokenizer.from_pretrained(source)), head_dim=16).save_pretrained(folder)
    return folder


def write_generation_config(folder: Path, **values: Any) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values), "utf-8")


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START, TURN_END],
    )


def _model(vocabulary_size: int, head_dim: int = 32) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=head_dim,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
        )
    )
