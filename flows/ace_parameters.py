"""What a user can set for ACE; rendered as forms in the Prefect UI."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backends.messages import SamplingParams
from backends.registry import parse_model
from flows.run_parameters import RunParameters
from tasks.ace.attempts import EARLY
from tasks.ace.learning import Lessons
from tasks.ace.rendering import Rendering

EarlyStop = Literal["repeated answer", "no new lesson", "unreadable review"]
Baseline = Literal["no playbook", "in-context examples", "cheat-sheet"]


class TierParameters(BaseModel):
    """One of the models that answer for a role, the cheapest first."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        default=None,
        description="As the parameter model of the run: a served name (a LoRA adapter's, too) or "
        "provider:model; empty: the run's",
    )
    max_output_tokens: int | None = Field(default=None, ge=1, description="Empty: the run's")
    min_confidence: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Answers of which the model was less sure go to the next tier: the geometric mean of the "
        "probabilities of their tokens",
    )

    @field_validator("model")
    @classmethod
    def _names_a_provider(cls, value: str | None) -> str | None:
        if value is not None:
            parse_model(value)
        return value


class AceBase(RunParameters):
    """What offline and online adaptation have in common."""

    task: dict[str, Any] | str = Field(
        default="demo",
        description="demo, formula, formula-dropped, finer, the path of a YAML or JSON file, a spec itself, "
        "or package.module:name of an AceTask of your own",
    )
    test_path: str = Field(default="", description="JSONL file of rows to test on; empty: the task's own")
    test_rows: int | None = Field(default=None, ge=1, description="How many of them; empty: all")
    feedback: Literal["labels", "environment", "self-check"] = Field(
        default="labels",
        description="What is learnt from, and validated by: labels; or none of them: the task's environment, "
        "or the model's check of its own answers",
    )
    batch_size: int = Field(
        default=10, ge=1, description="Rows that are learnt from together; 1: one by one, as published"
    )
    rounds: int = Field(default=3, ge=1, description="Reviews of a wrong answer, each with a new attempt")
    early_stopping: list[EarlyStop] = Field(
        default=["repeated answer", "no new lesson", "unreadable review"],
        description="What ends a row's rounds besides a right answer",
    )
    lessons: Lessons = Field(
        default="corrected",
        description="Which rows teach the Curator: those that a review put right, whose lesson has proved "
        "itself; those answered wrong at first; or all, as published",
    )
    curator_chunk: int = Field(default=20, ge=1, description="Reviews that one Curator is shown")
    max_operations: int = Field(default=24, ge=1, le=64, description="Edits of one Curator")
    post_generation: bool = Field(
        default=False, description="Ask each row again with the new playbook, as published; only a metric"
    )
    rendering: Rendering = Field(
        default="append-only",
        description="How prompts show the playbook: append-only, which a prefix cache likes; or reference: "
        "with counts, by section",
    )
    playbook: str = Field(
        default="", description="File to begin with: of a run (playbook.json), or in the reference's format"
    )
    playbook_tokens: int = Field(
        default=80_000, ge=0, description="Of the playbook at most; a server with less context is respected"
    )
    max_harmful: int = Field(
        default=3, ge=1, description="Harmful votes, more than helpful ones, that take a bullet out"
    )
    refine: Literal["eager", "lazy", "off"] = Field(
        default="eager",
        description="When bullets that say the same are merged: after each batch, when the playbook is "
        "nearly full, or never",
    )
    similarity: Literal["lexical", "embedded"] = Field(
        default="lexical", description="embedded needs requirements/embeddings.txt"
    )
    similarity_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="From which on bullets say the same; empty: the similarity's own",
    )
    merge_by: Literal["rule", "curator"] = Field(default="rule", description="Who merges them")
    structured_output: bool = Field(
        default=True, description="Have the server follow schemas; False for servers that cannot"
    )
    max_output_tokens: int = Field(
        default=1024,
        ge=1,
        description="Of each answer; the longer they may be, the fewer travel in one request",
    )
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=42, ge=0)
    generator: list[TierParameters] = Field(
        default=[], description="Models that answer, the cheapest first; empty: the run's"
    )
    reflector: list[TierParameters] = Field(default=[], description="Likewise; they review answers")
    curator: list[TierParameters] = Field(default=[], description="Likewise; they edit the playbook")

    def sampling(self, tier: TierParameters) -> SamplingParams:
        """Say how a tier's answers are drawn."""
        return SamplingParams(
            max_tokens=tier.max_output_tokens or self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    @property
    def other_models(self) -> tuple[str, ...]:
        """The models of tiers that are not the run's."""
        named = [one.model for one in (*self.generator, *self.reflector, *self.curator) if one.model]
        return tuple(dict.fromkeys(name for name in named if name != self.model))

    @property
    def stops(self) -> frozenset[str]:
        """Which early stops hold."""
        return frozenset(one for one in EARLY if one in self.early_stopping)


class AceParameters(AceBase):
    """Parameters of offline adaptation."""

    train_path: str = Field(default="", description="JSONL file of rows to learn from; empty: the task's own")
    validation_path: str = Field(
        default="", description="JSONL file of rows that choose the best playbook; empty: the task's own"
    )
    train_rows: int | None = Field(default=None, ge=1, description="How many of them; empty: all")
    validation_rows: int | None = Field(default=None, ge=0, description="Likewise; 0: none")
    epochs: int = Field(default=1, ge=1, description="How often the train rows are gone through")
    eval_rows: int = Field(default=100, ge=1, description="Rows after which the playbook is validated")
    patience: int | None = Field(
        default=3, ge=1, description="Validations without improvement that end learning; empty: none do"
    )
    baselines: list[Baseline] = Field(
        default=["no playbook", "in-context examples", "cheat-sheet"],
        description="What the playbook is compared with on the test rows",
    )
    examples: int = Field(default=8, ge=1, description="Train rows that in-context examples show")
    compare_with: str = Field(
        default="",
        description="Another task for the same rows, asked without a playbook: formula-dropped for formula",
    )


class AceOnlineParameters(AceBase):
    """Parameters of online adaptation: rows are answered in windows, and learnt from afterwards."""

    window: int = Field(default=15, ge=1, description="Rows that are answered before they are learnt from")
