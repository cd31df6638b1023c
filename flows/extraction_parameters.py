"""What a user can set for an extraction; rendered as a form in the Prefect UI."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from backends.messages import SamplingParams
from flows.run_parameters import RunParameters
from tasks.extraction.budgets import Budget

LEFT_ALONE = ("documents", "text", "gold", "exports", "max_failed_fraction")
"""Parameters that say where files are and what is written, not what is asked: not in a run's name."""

Export = Literal["conll", "brat"]


class ExtractionParameters(RunParameters):
    """Parameters of one extraction."""

    documents: str = Field(
        default="",
        description="A folder, a txt, md, html or pdf file, or a JSONL file with `id` and `text`",
    )
    text: str | None = Field(
        default=None, description="One text, in place of documents; Prefect takes 500 kB of parameters"
    )
    spec: dict[str, Any] | str = Field(
        default="entities",
        description="What to extract: legal, entities, the path of a YAML or JSON file, or a spec itself",
    )
    extractor: Literal["model", "citations"] = Field(
        default="model", description="citations: eyecite finds case citations, and no model is asked"
    )
    chunk_tokens: int = Field(default=1500, ge=16, description="Tokens of a chunk at most")
    overlap_tokens: int = Field(
        default=100, ge=0, description="Tokens that neighbouring chunks share; no entity should be longer"
    )
    chunk_characters: int | None = Field(
        default=None, ge=32, description="Cut by characters instead of tokens, into chunks of at most so many"
    )
    overlap_characters: int = Field(default=200, ge=0, description="Likewise; with chunk_characters only")
    context_characters: int = Field(
        default=0, ge=0, description="Shown before and after a chunk, to read and not to extract from"
    )
    passes: int = Field(default=1, ge=1, description="How often each place is asked about, on shifted chunks")
    pass_temperature: float = Field(default=0.7, ge=0, description="Temperature of passes after the first")
    min_votes: int = Field(default=1, ge=1, description="Passes that have to find an entity")
    fuzzy: bool = Field(
        default=True,
        description="Give what stands nowhere the span that it may be a slip of the pen for (status fuzzy)",
    )
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=42, ge=0)
    max_prompt_tokens: int = Field(default=28_000, ge=1)
    max_completion_tokens: int = Field(
        default=4_096, ge=1, description="Tokens of an answer at most; fewer where the context has no room"
    )
    context_tokens: int = Field(
        default=32_768, ge=1, description="Prompt and answer together; a server with less is respected"
    )
    max_items: int = Field(default=128, ge=1, description="Items of one answer at most")
    max_halvings: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a chunk is cut in two if its answer runs on or has max_items items",
    )
    structured_output: bool = Field(
        default=True, description="Have the server follow the schema; False for servers that cannot"
    )
    encoding: str = Field(
        default="utf-8", description="Of files without a byte order mark or a declaration of their own"
    )
    max_document_characters: int = Field(
        default=5_000_000, ge=1, description="Larger documents are not read, and said to be so"
    )
    gold: str | None = Field(
        default=None, description="JSONL with `id` and `entities` (start, end, label) to evaluate against"
    )
    exports: list[Export] = Field(default=[], description="Files in other formats: conll, brat")
    max_failed_fraction: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of failed documents above which the run fails",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if bool(self.documents) == (self.text is not None):
            raise ValueError("give either documents, the path of what to read, or text")
        if self.text is not None and not self.text.strip():
            raise ValueError("text is empty; give one that holds something")
        if self.min_votes > self.passes:
            raise ValueError(f"min_votes is {self.min_votes} and there are {self.passes} passes; lower it")
        size, overlap = self.chunk_size
        if overlap > size // 2:
            raise ValueError(
                f"chunks of {size} cannot overlap by {overlap}; let the overlap be half of a chunk at most"
            )
        self.sampling()
        self.budget()
        return self

    @classmethod
    def left_of(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out a deployment's documents and their gold spans where a run gives others."""
        has_others = not given.keys().isdisjoint({"documents", "text"})
        gone = {"documents", "text", "gold"} if has_others else set[str]()
        return {name: value for name, value in defaults.items() if name not in gone}

    @property
    def chunk_size(self) -> tuple[int, int]:
        """How large a chunk is and what neighbours share: in characters if given, else tokens."""
        if self.chunk_characters is not None:
            return self.chunk_characters, self.overlap_characters
        return self.chunk_tokens, self.overlap_tokens

    def budget(self) -> Budget:
        """Say how prompt and answer share the context."""
        return Budget(
            max_prompt_tokens=self.max_prompt_tokens,
            max_completion_tokens=self.max_completion_tokens,
            context=self.context_tokens,
        )

    def sampling(self) -> SamplingParams:
        """Say how answers of the first pass are drawn."""
        return SamplingParams(
            max_tokens=self.max_completion_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )
