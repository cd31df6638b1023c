"""What a user can set for an ICM run; rendered as a form in the Prefect UI."""

from typing import Literal, Self

from pydantic import Field, model_validator

from flows.run_parameters import RunParameters
from tasks.icm.consistency import Consistency
from tasks.icm.orders import OrderName
from tasks.icm.search_settings import Evaluation, SearchSettings
from tasks.icm.testbeds import TESTBEDS, TRUTHFULQA, Testbed


class ICMParameters(RunParameters):
    """Parameters of one ICM search and its evaluation."""

    dataset: Literal[
        "truthfulqa", "truthfulqa-preference", "gsm8k", "alpaca", "general_knowledge", "file"
    ] = Field(
        default="truthfulqa",
        description="truthfulqa: from train_path, else from the Hugging Face hub; general_knowledge: the "
        "project's own; the others: from train_path",
    )
    testbed: Testbed | None = Field(
        default=None, description="How the records of dataset 'file' look; empty: as TruthfulQA's"
    )
    train_path: str | None = Field(default=None, description="JSON or JSONL file of claims to label")
    test_path: str | None = Field(default=None, description="JSON or JSONL file of claims to evaluate on")
    num_claims: int = Field(default=256, ge=1, description="Claims to label, in each batch")
    batches: int | None = Field(
        default=1,
        ge=1,
        description="Batches of num_claims claims, searched at the same time; empty: as many as the data has",
    )
    group_size: int | None = Field(
        default=None, ge=1, description="Claims with one consistency_id; empty: as the dataset has them"
    )
    num_seeds: int = Field(default=8, ge=2, description="Claims that start with a random label; even")
    iterations: int = Field(default=1500, ge=0, description="Proposals (K)")
    alpha: float = Field(default=50.0, ge=0, description="Weight of mutual predictability in the energy")
    initial_temperature: float = Field(default=10.0, gt=0)
    final_temperature: float = Field(default=0.01, gt=0)
    schedule: Literal["log", "exp"] = Field(default="log", description="Of the temperature")
    decay: float = Field(default=0.99, gt=0, le=1, description="Of the exp schedule, per accepted change")
    consistency: Consistency = Field(
        default=Consistency.NONE,
        description="none; answer: claims with different answers cannot both be true; reference: the "
        "published rule, which on TruthfulQA looks at gold labels",
    )
    consistency_fix_passes: int = Field(default=10, ge=0)
    context_order: OrderName = Field(
        default="reference",
        description="Of the demonstrations. reference: as published; tree: far cheaper on a server with a "
        "prefix cache; tree-tail: cheaper still where that is large, and depends on the search's history",
    )
    lookahead: int = Field(
        default=0,
        ge=0,
        description="Changes that are evaluated together with the one to decide: fewer rounds, more prompts",
    )
    evaluation: Evaluation = Field(
        default="full",
        description="full: every change is decided on the whole pool, as published; sequential: some are "
        "rejected on a random part of it, approximately",
    )
    error_probability: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="sequential: how likely a change may be rejected that a full evaluation would accept",
    )
    bootstrap_rounds: int = Field(
        default=4, ge=0, description="Of the baseline that labels by bootstrapping with consistency; 0: none"
    )
    chat_baseline: bool = Field(
        default=True,
        description="Ask about test claims in a conversation, too, if the model has a chat template",
    )
    trailing_space: bool = Field(
        default=True, description="End prompts in the reference's lone space; small models need false"
    )
    scoring: Literal["auto", "top-20"] = Field(
        default="auto", description="auto: exact log-probabilities where the server has them; top-20: never"
    )
    min_label_mass: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Stop if the labels' median probability is under this; 0: never",
    )
    seed: int = Field(default=27565976, ge=0)
    test_claims: int | None = Field(default=None, ge=0, description="Test claims to evaluate on; empty: all")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_seeds % 2:
            raise ValueError(f"num_seeds is {self.num_seeds}; it must be even: half true, half false")
        size = self.claims_per_group
        if self.num_claims % size:
            raise ValueError(
                f"num_claims ({self.num_claims}) must be a multiple of group_size ({size}): "
                "whole groups are drawn"
            )
        if self.num_seeds > self.num_claims:
            raise ValueError(f"num_seeds ({self.num_seeds}) is more than num_claims ({self.num_claims})")
        if self.final_temperature > self.initial_temperature:
            raise ValueError(
                f"final_temperature ({self.final_temperature:g}) is above initial_temperature "
                f"({self.initial_temperature:g}); it is where the temperature stops falling"
            )
        if self.dataset not in {"truthfulqa", "general_knowledge"} and not self.train_path:
            raise ValueError(f"dataset is {self.dataset!r}; give train_path")
        if self.testbed and self.dataset != "file":
            raise ValueError(f"testbed is for dataset 'file', and dataset is {self.dataset!r}")
        return self

    @property
    def kind(self) -> Testbed:
        """How the claims look."""
        return TESTBEDS.get(self.dataset) or self.testbed or TRUTHFULQA

    @property
    def claims_per_group(self) -> int:
        """Claims with one consistency_id."""
        return self.group_size or self.kind.group_size

    def search_settings(self) -> SearchSettings:
        """Return the numbers of the search."""
        return SearchSettings(
            alpha=self.alpha,
            iterations=self.iterations,
            initial_temperature=self.initial_temperature,
            final_temperature=self.final_temperature,
            schedule=self.schedule,
            decay=self.decay,
            consistency_fix_passes=self.consistency_fix_passes,
            min_label_mass=self.min_label_mass,
            lookahead=self.lookahead,
            evaluation=self.evaluation,
            error_probability=self.error_probability,
            seed=self.seed,
        )
