"""What is asked at the same time travels together, and each one gets its own answers, whatever happens."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Arrival, Indexed
from backends.batching import ANSWER_TOKEN_WEIGHT, Batcher, ListBounds
from backends.concurrency import AdaptiveLimit, Permit
from backends.errors import BackendError, ServerError
from backends.messages import Request, Response, Usage
from tests.helpers import chat, completion, completions, sampling, until


def answer_to(request: Request) -> Response:
    return Response(text=f"{request.model}/{request.prompt}/{request.sample_index}", finish_reason="stop")


class Sender:
    """Answers lists; each stays with it until its door is opened, or for some turns of the event loop."""

    def __init__(self, turns: Sequence[int] = (), *, bad: frozenset[str] = frozenset()) -> None:
        self.lists: list[list[str]] = []
        self.cancelled: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self._turns = list(turns)
        self._bad = bad

    async def __call__(self, indexed: Sequence[Indexed], permit: Permit) -> Arrival:
        del permit
        prompts = [str(request.prompt) for _, request in indexed]
        self.lists.append(prompts)
        try:
            for _ in range(self._turns.pop() if self._turns else 0):
                await asyncio.sleep(0)
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(prompts)
            raise
        if self._bad.isdisjoint(prompts):
            answered = tuple((index, answer_to(request)) for index, request in indexed)
            return Arrival(outcomes=answered, usage=Usage(input_tokens=len(indexed) * 10))
        if len(indexed) > 1:
            middle = len(indexed) // 2
            return Arrival(outcomes=(), halves=(indexed[:middle], indexed[middle:]))
        return Arrival(outcomes=((indexed[0][0], ServerError("bad")),))


def batcher_of(sender: Sender, *, limit: int = 1000, **bounds: int) -> Batcher:
    lists = ListBounds(window_seconds=0.0, **bounds)
    return Batcher(sender, AdaptiveLimit(initial=limit, largest=limit, smallest=1), lists)


async def ask(batcher: Batcher, requests: Sequence[Request]) -> list[Arrival]:
    async with aclosing(batcher.answer(requests)) as arrivals:
        return [arrival async for arrival in arrivals]


def by_index(arrivals: Sequence[Arrival]) -> list[Response | BackendError]:
    pairs = [pair for arrival in arrivals for pair in arrival.outcomes]
    assert len({index for index, _ in pairs}) == len(pairs)
    return [outcome for _, outcome in sorted(pairs, key=lambda pair: pair[0])]


# --- what travels together ------------------------------------------------------------------------------


async def test_questions_asked_at_the_same_time_are_one_list() -> None:
    sender = Sender()
    batcher = batcher_of(sender)
    answers = await asyncio.gather(*(ask(batcher, [request]) for request in completions(20)))
    assert len(sender.lists) == 1
    assert [by_index(arrivals) for arrivals in answers] == [[answer_to(one)] for one in completions(20)]


async def test_prompts_with_a_common_prefix_travel_together() -> None:
    sender = Sender()
    prompts = [f"{letter} shared beginning {number}" for number in range(4) for letter in "abc"]
    await ask(batcher_of(sender, max_prompts=4), [completion(prompt) for prompt in prompts])
    assert [{prompt[0] for prompt in one} for one in sender.lists] == [{"a"}, {"b"}, {"c"}]


async def test_a_list_is_bounded_by_prompts_and_by_tokens() -> None:
    sender = Sender()
    await ask(batcher_of(sender, max_prompts=3), completions(7))
    assert [len(one) for one in sender.lists] == [3, 3, 1]
    sender.lists.clear()
    one_token = sampling(max_tokens=1)
    prompts = [completion(str(n) * 300, sampling=one_token) for n in range(5)]
    await ask(batcher_of(sender, max_tokens=2 * (100 + ANSWER_TOKEN_WEIGHT)), prompts)
    assert [len(one) for one in sender.lists] == [2, 2, 1]


@pytest.mark.parametrize(
    ("answer", "lists"), [(1, [32, 8]), (64, [32, 8]), (1024, [2] * 20), (4096, [1] * 40)]
)
async def test_long_answers_travel_in_short_lists(answer: int, lists: list[int]) -> None:
    """What a list is answered with arrives at the end of its slowest answer, or is lost with the process."""
    sender = Sender()
    await ask(batcher_of(sender), [one_of(number, answer) for number in range(40)])
    assert [len(one) for one in sender.lists] == lists


def one_of(number: int, answer: int) -> Request:
    return completion(f"question {number}", sampling=sampling(max_tokens=answer))


async def test_a_prompt_larger_than_the_bound_travels_alone() -> None:
    sender = Sender()
    await ask(batcher_of(sender, max_tokens=10), [completion("long " * 100), completion("short")])
    assert [len(one) for one in sender.lists] == [1, 1]


async def test_bodies_take_turns_so_that_a_short_one_does_not_wait_for_a_long_one() -> None:
    sender = Sender()
    long = [completion(f"long {number}") for number in range(6)]
    short = [completion(f"short {number}", model="other") for number in range(4)]
    await ask(batcher_of(sender, max_prompts=2), [*long, *short])
    assert [one[0].split()[0] for one in sender.lists] == ["long", "short", "long", "short", "long"]


async def test_only_what_shares_a_body_shares_a_list() -> None:
    sender = Sender()
    requests = [
        completion("a"),
        completion("b", model="other"),
        completion("c", sampling=sampling(extra_body={"top_k": 5})),
        completion("d", sampling=sampling(extra_body={"top_k": 9})),
        completion("e", sampling=sampling(extra_body={"top_k": 5})),
        chat("f"),
        completion("g", sample_index=1),
    ]
    await ask(batcher_of(sender), requests)
    assert sorted(sender.lists) == [["None"], ["a"], ["b"], ["c", "e"], ["d"], ["g"]]


async def test_what_waits_for_room_fills_up_the_next_list() -> None:
    sender = Sender()
    sender.open.clear()
    batcher = batcher_of(sender, limit=1)
    first = asyncio.create_task(ask(batcher, [completion("first")]))
    await until(lambda: len(sender.lists) == 1)
    later: list[asyncio.Task[list[Arrival]]] = []
    for request in completions(5):
        later.append(asyncio.create_task(ask(batcher, [request])))
        await asyncio.sleep(0.001)
    assert batcher.backlog == 6
    sender.open.set()
    await asyncio.gather(first, *later)
    assert [len(one) for one in sender.lists] == [1, 5]
    assert batcher.backlog == 0


async def test_tokens_and_requests_of_a_shared_list_are_counted_once() -> None:
    sender = Sender()
    batcher = batcher_of(sender)
    arrivals = await asyncio.gather(ask(batcher, completions(3)), ask(batcher, completions(4)))
    flat = [arrival for several in arrivals for arrival in several]
    assert sum(arrival.usage.input_tokens for arrival in flat) == 70
    assert sum(arrival.requests_sent for arrival in flat) == 1
    assert all(arrival.usage.input_tokens for arrival in flat)


# --- failures and people who leave ----------------------------------------------------------------------


async def test_a_bad_prompt_stands_alone_in_the_end_and_the_rest_is_answered() -> None:
    sender = Sender(bad=frozenset({"question 5"}))
    outcomes = by_index(await ask(batcher_of(sender), completions(16)))
    assert isinstance(outcomes.pop(5), ServerError)
    assert outcomes == [answer_to(one) for n, one in enumerate(completions(16)) if n != 5]


async def test_whoever_leaves_takes_questions_out_of_the_queue_and_out_of_the_server() -> None:
    sender = Sender()
    sender.open.clear()
    batcher = batcher_of(sender, limit=1, max_prompts=2)
    leaving = asyncio.create_task(ask(batcher, completions(10)))
    await until(lambda: len(sender.lists) == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert sender.cancelled == [["question 0", "question 1"]]
    assert batcher.backlog == 0
    sender.open.set()
    await ask(batcher, [completion("next")])
    assert sender.lists[1:] == [["next"]]


async def test_a_list_that_others_wait_for_is_not_cancelled() -> None:
    sender = Sender()
    sender.open.clear()
    batcher = batcher_of(sender)
    leaving, staying = (asyncio.create_task(ask(batcher, [completion(name)])) for name in "ab")
    await until(lambda: len(sender.lists) == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    sender.open.set()
    assert by_index(await staying) == [answer_to(completion("b"))]
    assert sender.cancelled == []


async def test_a_fault_of_the_program_reaches_all_who_wait() -> None:
    async def broken(indexed: Sequence[Indexed], permit: Permit) -> Arrival:
        raise ZeroDivisionError(indexed, permit)

    batcher = Batcher(broken, AdaptiveLimit(), ListBounds())
    outcomes = await asyncio.gather(*(ask(batcher, [one]) for one in completions(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3


async def test_what_cannot_be_queued_is_the_error_of_its_own_caller() -> None:
    batcher = batcher_of(Sender())
    bad = completion("bad", model=["no", "name"])
    async with asyncio.timeout(30):
        good, refused = await asyncio.gather(
            ask(batcher, completions(2)), ask(batcher, [bad]), return_exceptions=True
        )
    assert isinstance(refused, TypeError)
    assert isinstance(good, list)
    assert by_index(good) == [answer_to(one) for one in completions(2)]


@pytest.mark.parametrize("step", ["_admit", "_next_list", "_send_off"])
async def test_a_fault_in_any_step_of_the_pump_reaches_all_who_wait_and_the_next_call_is_answered(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    batcher = batcher_of(sender := Sender(), limit=1)
    sender.open.clear()
    sent = asyncio.create_task(ask(batcher, [completion("sent")]))
    await until(lambda: len(sender.lists) == 1)
    waiting = [asyncio.create_task(ask(batcher, [one])) for one in completions(3)]
    await asyncio.sleep(0)
    monkeypatch.setattr(batcher, step, broken)
    sender.open.set()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        monkeypatch.undo()
        assert by_index(await sent) == [answer_to(completion("sent"))]
        assert by_index(await ask(batcher, [completion("next")])) == [answer_to(completion("next"))]
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
    await pass_turns(1)
    assert batcher.backlog == 0


async def test_a_reply_that_does_not_fit_its_list_reaches_those_who_wait() -> None:
    async def unfitting(indexed: Sequence[Indexed], permit: Permit) -> Arrival:
        del permit
        return Arrival(outcomes=((len(indexed), ServerError("of whom?")),))

    batcher = Batcher(unfitting, AdaptiveLimit(), ListBounds())
    async with asyncio.timeout(30):
        with pytest.raises(IndexError):
            await ask(batcher, completions(2))


async def test_closing_ends_all_who_wait() -> None:
    sender = Sender()
    sender.open.clear()
    batcher = batcher_of(sender, limit=1)
    sent = asyncio.create_task(ask(batcher, [completion("sent")]))
    await until(lambda: len(sender.lists) == 1)
    queued = asyncio.create_task(ask(batcher, [completion("queued")]))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await batcher.close()
        outcomes = await asyncio.gather(sent, queued, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendError] * 2
    assert "closed" in str(outcomes[0])


async def test_closing_cancels_what_is_under_way() -> None:
    sender = Sender()
    sender.open.clear()
    batcher = batcher_of(sender)
    asking = asyncio.create_task(ask(batcher, completions(2)))
    await until(lambda: len(sender.lists) == 1)
    await batcher.close()
    assert sender.cancelled == [["question 0", "question 1"]]
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@given(
    calls=st.lists(
        st.tuples(
            st.lists(st.integers(0, 30), max_size=12),  # prompts
            st.integers(0, 4),  # turns of the event loop before asking
            st.sampled_from([None, None, None, 0, 1, 3]),  # arrivals or turns after which it leaves
        ),
        max_size=8,
    ),
    turns=st.lists(st.integers(0, 6), max_size=30),
    bad=st.frozensets(st.integers(0, 30).map(str), max_size=3),
    limit=st.integers(1, 40),
    max_prompts=st.integers(1, 8),
)
def test_each_question_is_answered_exactly_once_in_its_place_under_any_interleaving(
    calls: list[tuple[list[int], int, int | None]],
    turns: list[int],
    bad: frozenset[str],
    limit: int,
    max_prompts: int,
) -> None:
    async def play() -> None:
        sender = Sender(turns, bad=bad)
        batcher = batcher_of(sender, limit=limit, max_prompts=max_prompts)

        async def call(prompts: list[int], before: int) -> list[Response | BackendError]:
            await pass_turns(before)
            return by_index(await ask(batcher, [completion(str(number)) for number in prompts]))

        async def leave(task: "asyncio.Task[list[Response | BackendError]]", after: int | None) -> None:
            if after is not None:
                await pass_turns(after)
                task.cancel()

        tasks = [asyncio.create_task(call(prompts, before)) for prompts, before, _ in calls]
        leaving = [leave(task, after) for task, (_, _, after) in zip(tasks, calls, strict=True)]
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks, *leaving, return_exceptions=True)
        for task, (prompts, _, _) in zip(tasks, calls, strict=True):
            if not task.cancelled():
                check_outcomes(task.result(), prompts, bad)
        await pass_turns(1)
        assert batcher.backlog == 0
        if not bad:  # nothing is sent twice
            sent = Counter(prompt for one in sender.lists for prompt in one)
            assert sent <= Counter(str(number) for prompts, _, _ in calls for number in prompts)

    asyncio.run(play())


async def pass_turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def check_outcomes(outcomes: list[Response | BackendError], prompts: list[int], bad: frozenset[str]) -> None:
    assert len(outcomes) == len(prompts)
    for number, outcome in zip(prompts, outcomes, strict=True):
        if str(number) in bad:
            assert isinstance(outcome, ServerError)
        else:
            assert outcome == answer_to(completion(str(number)))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(0, 10_000), st.integers(0, 500))
def test_the_parts_of_a_usage_add_up(weights: list[int], input_tokens: int, output_tokens: int) -> None:
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    assert sum(usage.split(weights), Usage()) == usage
