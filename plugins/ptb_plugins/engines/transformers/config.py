"""What the supervisor tells the server process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Configuration of one server process; all paths are inside the session.

    Attributes:
        socket: Path of the unix socket to bind.
        model_name: Value of the replies' ``model`` field.
        checkpoint: Folder of the weights.
        tokenizer: Folder of the tokenizer data.
        generation_config: Folder whose generation_config.json gives defaults and end tokens.
        chat_template: Path of the Jinja chat template.
        max_context_tokens: Longest prompt plus answer.
        tool_parser: Format of tool calls; only ``hermes`` is read, anything else stays text.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: Most requests generated together.
        threads: Processor threads; None for all.
        template_date: ISO date that templates print as today's; None for the real date.
        seed: Seed of sampled requests that carry none.
        gather_timeout_s: Seconds that an incomplete fixed batch waits for its other requests.
    """

    socket: str
    model_name: str
    checkpoint: str
    tokenizer: str
    generation_config: str | None
    chat_template: str
    max_context_tokens: int
    tool_parser: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int = 16
    threads: int | None = None
    template_date: str | None = None
    seed: int = 0
    gather_timeout_s: float = 60.0
