"""The scripted backend answers and fails as told, and remembers what it was asked."""

import pytest

from backends.errors import RateLimitError
from backends.messages import Label, Request, Response
from backends.scripted import Scripted
from tests.helpers import arrivals_of, completions, outcomes_of


def echo(request: Request) -> Response:
    return Response(text=f"to {request.prompt}", finish_reason="stop")


async def test_it_answers_in_lists_and_remembers_the_order() -> None:
    backend, requests = Scripted(echo, max_prompts=2), completions(5)
    arrivals = await arrivals_of(backend, requests)
    assert [[index for index, _ in arrival.outcomes] for arrival in arrivals] == [[0, 1], [2, 3], [4]]
    assert [arrival.outcomes[0][1] for arrival in arrivals] == [echo(requests[place]) for place in (0, 2, 4)]
    assert backend.asked == requests


async def test_a_scripted_failure_is_an_outcome_of_its_request_alone() -> None:
    failure = RateLimitError("slow down")
    backend = Scripted(lambda request: failure if request.prompt == "question 1" else echo(request))
    outcomes = await outcomes_of(backend, completions(3))
    assert [outcome is failure for outcome in outcomes] == [False, True, False]


async def test_a_script_that_raises_stops_the_run_after_the_lists_before() -> None:
    def script(request: Request) -> Response:
        if request.prompt == "question 2":
            raise RuntimeError("pulled the plug")
        return echo(request)

    arrivals = Scripted(script, max_prompts=1).answer(completions(4))
    assert [index for index, _ in (await anext(arrivals)).outcomes] == [0]
    assert [index for index, _ in (await anext(arrivals)).outcomes] == [1]
    with pytest.raises(RuntimeError, match="plug"):
        await anext(arrivals)


async def test_its_labels_count_as_exact() -> None:
    async with Scripted(echo) as backend:
        labels = await backend.find_labels("any", ["True", "False"])
    assert labels == (Label(text="True", token_ids=(0,)), Label(text="False", token_ids=(1,)))
    assert backend.asked == []
