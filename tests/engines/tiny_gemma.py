"""A tiny random Gemma 3, saved in each form in which the same weights are met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
CONTEXT_TOKENS = 512
TEXT: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT_TOKENS,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "initializer_range": 0.5,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def build_multimodal(folder: Path) -> Path:
    """Save the whole model with vision tower, as transformers saves it."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    config = Gemma3Config(
        text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4, image_token_index=319
    )
    return _save(Gemma3ForConditionalGeneration(config), folder)


def build_text_only(folder: Path, multimodal: Path) -> Path:
    """Save the language model of :func:`build_multimodal` alone."""
    from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration

    whole = Gemma3ForConditionalGeneration.from_pretrained(multimodal)
    text = Gemma3ForCausalLM(whole.config.text_config)
    text.model.load_state_dict(whole.model.language_model.state_dict())
    text.tie_weights()
    return _save(text, folder)


def tokenizer_for_templates() -> Any:
    """Return a tokenizer that reads any text and knows the turn markers of every family."""
    return _tokenizer((*SPECIAL_TOKENS, "<|im_start|>", "<|im_end|>"))


def build_reader(folder: Path) -> Path:
    """Save a random Qwen3 model with the tokenizer of :func:`tokenizer_for_templates`."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = tokenizer_for_templates()
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    sizes = {name: TEXT[name] for name in names}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        head_dim=32,
        num_hidden_layers=1,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        **sizes,
    )
    Qwen3ForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _save(model: Any, folder: Path) -> Path:
    model.eval().save_pretrained(folder)
    _tokenizer(SPECIAL_TOKENS).save_pretrained(folder)
    return folder


def _tokenizer(special_tokens: tuple[str, ...]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user model What is it?"] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
