"""What a user can set for a batch of prompts; rendered as a form in the Prefect UI."""

from typing import Any, Self

from pydantic import Field, model_validator

from backends.messages import SamplingParams
from flows.run_parameters import RunParameters
from tasks.batch.rows import Layout, parse_template

LEFT_ALONE = (
    "input_path",
    "output_path",
    "skip_bad_rows",
    "batch_size",
    "max_failed_fraction",
    "json_schema",
)
"""Parameters that say where files are and how the work is cut, not what is asked: not in a run's name."""


class BatchParameters(RunParameters):
    """Parameters of one batch of prompts."""

    input_path: str = Field(
        default="", description="JSONL, CSV or Parquet file of prompts, told apart by the ending"
    )
    output_path: str | None = Field(
        default=None, description="JSONL, CSV or Parquet file of answers; empty: in the run's folder"
    )
    prompt_column: str | None = Field(
        default=None, description="Column of the prompt; empty: `prompt`, or `messages` for conversations"
    )
    template: str | None = Field(
        default=None, description="Makes the prompt, as `Translate into French: {sentence}`"
    )
    chat: bool = Field(
        default=False, description="Send prompts as what a user says, through the model's chat template"
    )
    system: str | None = Field(default=None, description="System message; implies chat")
    keep_columns: list[str] | None = Field(
        default=None, description="Columns of the input to keep beside the answers; empty: all"
    )
    skip_bad_rows: bool = Field(
        default=False, description="Rows that cannot be asked become failed rows; otherwise they stop the run"
    )
    max_output_tokens: int = Field(default=256, ge=1, description="Tokens of one answer at most")
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    stop: list[str] = Field(default=[], description="Texts at which an answer ends")
    n: int = Field(default=1, ge=1, description="Answers (samples) for each row")
    logprobs: int | None = Field(
        default=None, ge=0, le=20, description="Log-probabilities of each token, and of this many others"
    )
    json_schema: dict[str, Any] | str | None = Field(
        default=None, description="JSON Schema that answers have to follow, or the path of its file"
    )
    extra_body: dict[str, Any] = Field(
        default={}, description="Anything else that the server knows, as {'top_k': 5}"
    )
    # A task costs the Prefect server 31 ms and 19 KB: 0.06 ms a prompt. Four such batches at once are more
    # than the 1024 prompts that are ever with one server, so that it is not idle between them.
    batch_size: int = Field(default=512, ge=1, description="Prompts in one Prefect task")
    max_failed_fraction: float = Field(
        default=0.0, ge=0, le=1, description="Share of failed rows above which the run fails, all written"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.template is not None and self.prompt_column is not None:
            raise ValueError("template and prompt_column both make the prompt; give one of them")
        self.layout()
        self.sampling()
        return self

    def layout(self) -> Layout:
        """Say where a row's question stands."""
        return Layout(
            prompt_column=self.prompt_column,
            template=None if self.template is None else parse_template(self.template),
            chat=self.chat,
            system=self.system,
        )

    def sampling(self) -> SamplingParams:
        """Say how answers are drawn."""
        return SamplingParams(
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=tuple(self.stop),
            extra_body=self.extra_body,
        )
