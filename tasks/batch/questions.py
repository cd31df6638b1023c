"""From a row to the requests that it makes, and from their outcomes to the rows of an answer file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

from backends.base import Outcome
from backends.messages import Request, Response, SamplingParams, TokenLogprob
from tasks.batch.rows import InputError, Row

BAD_ROW = "bad row"
"""Failure of a row that asks nothing."""

NOT_BY_SCHEMA = "answer does not follow the schema"


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A JSON Schema that answers have to follow."""

    text: str
    validator: Validator

    def read(self, text: str) -> object:
        """Read an answer.

        Raises:
            ValueError: It is no JSON, or does not follow the schema.
        """
        value = json.loads(text)
        for error in self.validator.iter_errors(value):
            raise ValueError(f"{error.json_path}: {error.message[:200]}")
        return value


def make_schema(schema: Mapping[str, object]) -> Schema:
    """Check a JSON Schema.

    Raises:
        InputError: It is none, or refers to something outside itself.
    """
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise InputError(f"json_schema refers to {reference!r}; only references within it are followed")
    plain = dict(schema)
    kind = validator_for(plain, default=Draft202012Validator)
    try:
        kind.check_schema(plain)
    except SchemaError as error:
        raise InputError(
            f"json_schema is no JSON Schema: {error.json_path}: {error.message[:200]}"
        ) from error
    # With a registry of its own it never fetches anything.
    return Schema(text=json.dumps(plain, ensure_ascii=False), validator=kind(plain, registry=Registry()))


def _references(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in cast("Mapping[str, object]", value).items():
            if name in {"$ref", "$dynamicRef"} and isinstance(one, str):
                yield one
            else:
                yield from _references(one)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            yield from _references(one)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Everything that the questions of a batch have in common."""

    model: str
    sampling: SamplingParams
    revision: str | None = None
    samples: int = 1
    """Draws for each row."""
    logprobs: int | None = None
    schema: Schema | None = None

    def of(self, row: Row) -> list[Request]:
        """Return what a row asks, one request for each draw; nothing where the row is bad."""
        if row.problem is not None:
            return []
        return [
            Request(
                model=self.model,
                revision=self.revision,
                sampling=self.sampling,
                prompt=row.prompt,
                messages=row.messages,
                logprobs=self.logprobs,
                json_schema=self.schema.text if self.schema else None,
                sample_index=index,
            )
            for index in range(self.samples)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of one draw of one row."""

    row: Row
    sample: int
    response: Response | None = None
    json: object = None
    failure: str | None = None
    """The kind of failure: a name of few words, for counting."""
    error: str | None = None
    """What went wrong, in a sentence."""


def read_answers(questions: Questions, row: Row, outcomes: Sequence[Outcome]) -> list[Answer]:
    """Turn the outcomes of a row's requests into its answers; a bad row fails as often as it would ask."""
    if row.problem is not None:
        error = f"{row.place}: {row.problem}"
        return [
            Answer(row=row, sample=index, failure=BAD_ROW, error=error) for index in range(questions.samples)
        ]
    return [_answer(questions.schema, row, index, outcome) for index, outcome in enumerate(outcomes)]


def _answer(schema: Schema | None, row: Row, sample: int, outcome: Outcome) -> Answer:
    if not isinstance(outcome, Response):
        kind = type(outcome).__name__
        return Answer(row=row, sample=sample, failure=kind, error=f"{kind}: {outcome}")
    if schema is None:
        return Answer(row=row, sample=sample, response=outcome)
    try:
        return Answer(row=row, sample=sample, response=outcome, json=schema.read(outcome.text))
    except (ValueError, RecursionError) as error:
        why = "it was cut off at max_output_tokens" if outcome.finish_reason == "length" else str(error)
        failed = f"{NOT_BY_SCHEMA}: {why}"
        return Answer(row=row, sample=sample, response=outcome, failure=NOT_BY_SCHEMA, error=failed)


def plain_logprobs(logprobs: Sequence[TokenLogprob]) -> list[dict[str, object]] | None:
    """Return log-probabilities as JSON values; minus infinity is null."""
    return [
        {
            "token": one.token,
            "logprob": _finite(one.logprob),
            "top": {token: _finite(logprob) for token, logprob in one.top.items()},
        }
        for one in logprobs
    ] or None


def _finite(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None
