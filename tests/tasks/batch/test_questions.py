"""Requests from rows, and answers from outcomes."""

import math

import pytest

from backends.errors import BadRequestError
from backends.messages import Response, SamplingParams, TokenLogprob
from tasks.batch.questions import Questions, Schema, make_schema, plain_logprobs, read_answers
from tasks.batch.rows import InputError, Row

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ROW = Row(number=3, place="line 3", prompt="Hi")
BAD = Row(number=4, place="line 4", problem="it is empty")


def questions(*, samples: int = 1, schema: Schema | None = None) -> Questions:
    return Questions(model="m", sampling=SamplingParams(max_tokens=8), samples=samples, schema=schema)


def answer(text: str, finish_reason: str = "stop") -> Response:
    return Response(text=text, finish_reason=finish_reason)


def test_a_row_asks_once_for_each_sample_and_a_bad_one_nothing() -> None:
    asked = questions(samples=3, schema=make_schema(SCHEMA)).of(ROW)
    assert [one.sample_index for one in asked] == [0, 1, 2]
    assert {(one.prompt, one.json_schema) for one in asked} == {("Hi", make_schema(SCHEMA).text)}
    assert questions(samples=3).of(BAD) == []


def test_a_bad_row_fails_once_for_each_sample() -> None:
    failed = read_answers(questions(samples=2), BAD, [])
    assert [(one.sample, one.failure, one.error) for one in failed] == [
        (0, "bad row", "line 4: it is empty"),
        (1, "bad row", "line 4: it is empty"),
    ]


def test_an_error_is_told_with_its_kind() -> None:
    [failed] = read_answers(questions(), ROW, [BadRequestError("too long")])
    assert (failed.failure, failed.error) == ("BadRequestError", "BadRequestError: too long")


@pytest.mark.parametrize(
    ("text", "finish_reason", "why"),
    [
        ('{"n": "x"}', "stop", "$.n: 'x' is not of type 'integer'"),
        ("{}", "stop", "$: 'n' is a required property"),
        ("hello", "stop", "Expecting value"),
        ('{"n": 1', "length", "it was cut off at max_output_tokens"),
    ],
)
def test_an_answer_against_the_schema_fails_and_keeps_its_text(
    text: str, finish_reason: str, why: str
) -> None:
    response = answer(text, finish_reason)
    [failed] = read_answers(questions(schema=make_schema(SCHEMA)), ROW, [response])
    assert failed.failure == "answer does not follow the schema"
    assert failed.error is not None
    assert why in failed.error
    assert (failed.response, failed.json) == (response, None)


def test_an_answer_by_the_schema_is_parsed() -> None:
    [good] = read_answers(questions(schema=make_schema(SCHEMA)), ROW, [answer('{"n": 7}')])
    assert (good.json, good.failure) == ({"n": 7}, None)


def test_a_schema_may_refer_to_itself_and_to_nothing_else() -> None:
    inside = make_schema({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}})
    assert inside.read("7") == 7
    with pytest.raises(InputError, match="only references within it"):
        make_schema({"properties": {"x": {"$ref": "https://example.org/x.json"}}})


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(InputError, match="json_schema is no JSON Schema"):
        make_schema({"type": "objekt"})


def test_minus_infinity_is_null() -> None:
    token = TokenLogprob(token="a", logprob=-math.inf, top={"a": -math.inf, "b": -0.5})
    assert plain_logprobs([token]) == [{"token": "a", "logprob": None, "top": {"a": None, "b": -0.5}}]
    assert plain_logprobs([]) is None
