"""Rebuild the base model `tiny-qwen3` from nothing: the same bytes on processors of one kind.

    python embedded/build_tiny_qwen3.py              # rewrites embedded/models/tiny-qwen3/
    python embedded/build_tiny_qwen3.py --check      # rebuilds elsewhere and compares hashes

The model has the Qwen3 architecture and is a *base* model: it is pre-trained on plain text only,
stories of the `errands` grammar with questions and answers, and short sums. ChatML's marker tokens
are in the vocabulary, but no training text holds them or the reply format that the task asks for.
Test items are kept out: no text shares a run of `HELD_OUT_RUN` words with any of them. What the
texts do share with them is the grammar and the table of sums, so a fine-tune of this model shows
that a skill is called up in a new format, not that a new skill is learned.

Seed, step count, thread count and deterministic algorithms are fixed, so two builds on one machine
agree to the last bit. Another CPU type may round differently; then `--check` reports a difference
although nothing is wrong.
"""

import argparse
import hashlib
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from build_errands import HELD_OUT_RUN, build_splits, held_out_runs
from errands import NUMBERS, QUESTION_FORMS, THINGS, ask, tell, word_runs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

MODEL_DIR = Path(__file__).resolve().parent / "models" / "tiny-qwen3"
HASHED_FILES = ("model.safetensors", "tokenizer.json")

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
END_ID = 0
"""`END_OF_TEXT` is the first token of the vocabulary, and pads too."""
MAX_TOKENS = 512
THREADS = 2
IGNORED_LABEL = -100

Text = tuple[str, ...]
"""A text in parts that take turns: free wording, then wording that all before it decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides the bytes of the model, apart from the grammar and library versions."""

    seed: int = 7
    max_vocab_size: int = 1400
    tokenizer_texts: int = 4000
    hidden_size: int = 128
    intermediate_size: int = 256
    layers: int = 3
    heads: int = 4
    key_value_heads: int = 2
    steps: int = 300
    batch_size: int = 32
    full_texts: int = 2
    """Texts of a batch in which free wording carries a label too."""
    matrix_learning_rate: float = 0.02
    """Of Muon, which trains the weight matrices: AdamW alone needs several times the steps."""
    other_learning_rate: float = 0.01
    """Of AdamW, which trains the embeddings and norms."""
    warmup_steps: int = 20
    sums_share: float = 0.4
    """Share of the texts that are bare sums, in [0, 1]."""
    sums_per_text: int = 8
    most_asides: int = 3


def main() -> int:
    """Build the model folder, or compare a fresh build with `--check`; exit code 1 if different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=MODEL_DIR, help="model folder to write")
    parser.add_argument("--check", action="store_true", help="compare with --output, write nothing")
    options = parser.parse_args()
    if options.check:
        return check(options.output)
    build(options.output, Recipe())
    print(json.dumps(hashes(options.output), indent=2))
    return 0


def build(folder: Path, recipe: Recipe) -> None:
    """Train tokenizer and model by `recipe` and save both into `folder`."""
    make_deterministic(recipe.seed)
    tokenizer = train_tokenizer(recipe)
    model = Qwen3ForCausalLM(model_config(recipe, len(tokenizer)))
    print(f"{model.num_parameters()} parameters, {len(tokenizer)} tokens", flush=True)
    pretrain(model, tokenizer, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Name the tokenizer class that transformers 4 knows too; let everybody read the weights."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "model.safetensors").chmod(0o644)


def make_deterministic(seed: int) -> None:
    """Fix seed, thread count and algorithms: each of them changes the last bits of the weights."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which nearly every word of the grammar is one token."""
    rng = random.Random(recipe.seed + 1)
    sample = ["".join(write_text(rng, recipe)) for _ in range(recipe.tokenizer_texts)]
    # The chat roles get a token each; the model is never trained on them.
    sample.append("system user assistant " * 500)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.max_vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=MAX_TOKENS,
    )


def model_config(recipe: Recipe, vocab_size: int) -> Qwen3Config:
    """The architecture: Qwen3 with grouped-query attention and tied embeddings."""
    return Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        head_dim=recipe.hidden_size // recipe.heads,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )


def pretrain(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> None:
    """Next-token prediction on plain text for `recipe.steps` steps."""
    optimizers = make_optimizers(model, recipe)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    texts = pretraining_texts(recipe)
    started = time.monotonic()
    model.train()
    for step in range(recipe.steps):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * learning_rate_scale(step, recipe)
        batch = [next(texts) for _ in range(recipe.batch_size)]
        inputs, labels = encode(tokenizer, batch, recipe.full_texts)
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0 or step == recipe.steps - 1:
            elapsed = time.monotonic() - started
            print(f"step {step:4d}  loss {loss.item():.3f}  {elapsed:5.1f} s", flush=True)
    model.eval()


def make_optimizers(model: Qwen3ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    held = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in held]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_learning_rate, weight_decay=0.0),
        torch.optim.AdamW(
            others, lr=recipe.other_learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        ),
    ]


def learning_rate_scale(step: int, recipe: Recipe) -> float:
    """Linear warm-up to 1, then a cosine down to 0.02."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


def pretraining_texts(recipe: Recipe) -> Iterator[Text]:
    """The endless, seeded pre-training text, free of every run of words held out for the test."""
    rng = random.Random(recipe.seed + 2)
    held_out = held_out_runs(build_splits()["test"])
    while True:
        text = write_text(rng, recipe)
        if not word_runs("".join(text), HELD_OUT_RUN) & held_out:
            yield text


def write_text(rng: random.Random, recipe: Recipe) -> Text:
    """One plain text: a story with questions and answers, or a few short sums."""
    if rng.random() < recipe.sums_share:
        return write_sums(rng, recipe.sums_per_text)
    return write_story(rng, rng.randint(0, recipe.most_asides))


def write_story(rng: random.Random, asides: int) -> Text:
    """A story, then each question about it once, with its answer."""
    story = tell(rng, asides)
    parts = [story.text]
    for form in rng.sample(QUESTION_FORMS, len(QUESTION_FORMS)):
        question, answer = ask(form, story)
        parts[-1] += f" {question}"
        parts += [f" {answer}.", ""]
    return tuple(parts)


def write_sums(rng: random.Random, count: int) -> Text:
    """Questions about two numbers without a story around them, with their answers."""
    parts = [""]
    for _ in range(count):
        things = rng.choice(THINGS)
        first, second = rng.choice(NUMBERS), rng.choice(NUMBERS)
        form = rng.choice(QUESTION_FORMS)
        question = form.text.format(things=things)
        parts[-1] += f" {first} {things} and {second} {things}. {question}"
        parts += [f" {form.answer(first, second)}.", ""]
    return tuple(parts)


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], full_texts: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels of `texts`, right-padded; padding has no label.

    Free wording carries labels in the first `full_texts` texts only: which name comes next cannot
    be learned, and its noise would drown what can.
    """
    rows: list[tuple[list[int], list[int]]] = []
    for index, text in enumerate(texts):
        inputs: list[int] = []
        labels: list[int] = []
        for place, part in enumerate(text):
            ids = tokenizer(part)["input_ids"]
            inputs += ids
            labels += ids if place % 2 or index < full_texts else [IGNORED_LABEL] * len(ids)
        rows.append(([*inputs, END_ID], [*labels, END_ID]))
    width = max(len(inputs) for inputs, _ in rows)
    padded = torch.full((2, len(rows), width), END_ID)
    padded[1] = IGNORED_LABEL
    for index, (inputs, labels) in enumerate(rows):
        padded[:, index, : len(inputs)] = torch.tensor([inputs, labels])
    return padded[0], padded[1]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a rebuild must reproduce."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED_FILES}


def check(folder: Path) -> int:
    """Build into a temporary folder and compare with `folder`; 0 when the hashes agree."""
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary), Recipe())
        fresh = hashes(Path(temporary))
    shipped = hashes(folder)
    for name in HASHED_FILES:
        same = "same" if fresh[name] == shipped[name] else "DIFFERENT"
        print(f"{name}: shipped {shipped[name][:16]}, rebuilt {fresh[name][:16]}: {same}")
    if fresh == shipped:
        return 0
    print("rebuilt model differs from the shipped one", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
