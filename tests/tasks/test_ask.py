"""When nobody answers any more, and when it is only one prompt that breaks its connection."""

from collections.abc import Sequence

import pytest

from backends.base import Outcome
from backends.errors import BadRequestError, ConnectionLostError, ServerGoneError
from backends.messages import Request, Response
from tasks.ask import LOST_IN_A_ROW, Stop
from tests.helpers import completions

YES, LOST = Response(text="yes", finish_reason="stop"), ConnectionLostError("it broke")


def test_one_prompt_that_breaks_its_connection_stops_nothing() -> None:
    stop = Stop()
    for _ in range(20):
        stop.hear([*[LOST] * (LOST_IN_A_ROW - 1), YES])
    assert stop.errors == []


def test_connections_that_all_break_are_nobody_who_answers() -> None:
    stop = Stop()
    for _ in range(LOST_IN_A_ROW - 1):
        stop.hear([LOST])
    assert stop.errors == []
    stop.hear([LOST])
    with pytest.raises(ConnectionLostError):
        stop.require_an_answer()


@pytest.mark.parametrize(
    ("outcome", "stops"), [(ServerGoneError("gone"), True), (BadRequestError("no"), False)]
)
async def test_what_is_guarded_is_asked_no_more_once_nobody_answers(outcome: Outcome, *, stops: bool) -> None:
    asked: list[str] = []

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        asked.append(purpose)
        return [outcome for _ in requests]

    guarded = Stop().guard(ask)
    for purpose in ("one", "two"):
        if stops:
            with pytest.raises(ServerGoneError):
                await guarded(completions(2), purpose=purpose)
        else:
            assert len(await guarded(completions(2), purpose=purpose)) == 2
    assert asked == (["one"] if stops else ["one", "two"])
