"""Parameters of a batch: refused where they do not fit together, with what to do."""

import pytest
from pydantic import ValidationError

from flows.batch_parameters import BatchParameters
from tasks.batch.rows import Layout

Json = dict[str, object]


def parameters(**given: object) -> BatchParameters:
    return BatchParameters.model_validate({"input_path": "x.jsonl", **given})


def test_every_field_of_sampling_and_layout_is_taken() -> None:
    given = parameters(
        max_output_tokens=3, temperature=0.5, top_p=0.9, seed=7, stop=["."], extra_body={"top_k": 5},
        prompt_column="q", chat=True, system="s",
    )  # fmt: skip
    sampling = given.sampling()
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (3, 0.5, 0.9)
    assert (sampling.seed, sampling.stop, sampling.extra_body) == (7, (".",), {"top_k": 5})
    assert given.layout() == Layout(prompt_column="q", chat=True, system="s")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"template": "{q}", "prompt_column": "q"}, "give one of them"),
        ({"template": "{q.x}"}, "not the plain name of a column"),
        ({"extra_body": {"seed": 3}}, "extra_body holds 'seed'"),
        ({"max_output_token": 3}, "the closest is 'max_output_tokens'"),
        ({"n": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_said(given: Json, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        parameters(**given)
