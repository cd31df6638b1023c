"""What the cache's keys see: whatever a server could see asks again, and nothing else does.

    python -m bench.key_probe        exits with 1 where a line is wrong

Every line asks twice with one store, through a Generator and over HTTP, and counts which prompts reached a
server the second time. The lines are written over the fields of what is asked and over the settings of the
backend: one without a line fails the test of this file, and so does a line without a field.
"""

import asyncio
import dataclasses
import inspect
import sys
import tempfile
import typing
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backends.base import Hooks
from backends.batching import ListBounds
from backends.concurrency import AdaptiveLimit
from backends.messages import Label, Message, Request, SamplingParams
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from tasks.generate import Generator
from tests.fake_vllm import FakeVLLM, prompt_digest, render_chat

MODELS = ("tiny", "tiny-2")


# --- What is asked --------------------------------------------------------------------------------------

SAMPLING = SamplingParams(max_tokens=8, temperature=0.5, top_p=0.9, seed=3, stop=("END",))
LABELS = (Label(text="True", token_ids=(1000, 1001)), Label(text="False", token_ids=(1005,)))
ASK = Request(model="tiny", sampling=SAMPLING, prompt="Is it so?")
SCORE = Request(model="tiny", sampling=SamplingParams(max_tokens=1), prompt="So it is:", labels=LABELS)
TALK = Request(model="tiny", sampling=SAMPLING, messages=(Message(role="user", content="hi"),))
ROWS = tuple(replace(ASK, prompt=f"Row {number}?") for number in range(3))


def sampled(**change: Any) -> Request:  # noqa: ANN401 - any field
    """Change one field of how the answer is drawn."""
    return replace(ASK, sampling=replace(SAMPLING, **change))


def labelled(**change: Any) -> Request:  # noqa: ANN401 - any field
    """Change one field of the first label."""
    return replace(SCORE, labels=(replace(LABELS[0], **change), LABELS[1]))


def said(**change: Any) -> Request:  # noqa: ANN401 - any field
    """Change one field of the first message."""
    return replace(TALK, messages=(replace(TALK.messages[0], **change),))


SEEN: Mapping[type, Mapping[str, tuple[Request, Request]]] = {
    Request: {
        "model": (ASK, replace(ASK, model="tiny-2")),
        "sampling": (ASK, replace(ASK, sampling=SamplingParams(max_tokens=8))),
        "prompt": (ASK, replace(ASK, prompt="Is it so? ")),
        "messages": (TALK, replace(TALK, messages=TALK.messages * 2)),
        "labels": (SCORE, replace(SCORE, labels=LABELS[::-1])),
        "logprobs": (ASK, replace(ASK, logprobs=2)),
        "json_schema": (TALK, replace(TALK, json_schema='{"type": "object"}')),
        "revision": (ASK, replace(ASK, revision="other weights under the same name")),
        "sample_index": (ASK, replace(ASK, sample_index=1)),
    },
    SamplingParams: {
        "max_tokens": (ASK, sampled(max_tokens=9)),
        "temperature": (ASK, sampled(temperature=0.6)),
        "top_p": (ASK, sampled(top_p=1.0)),
        "seed": (ASK, sampled(seed=4)),
        "stop": (ASK, sampled(stop=("END", "STOP"))),
        "extra_body": (sampled(extra_body={"top_k": 5}), sampled(extra_body={"top_k": 9})),
    },
    Label: {
        "text": (SCORE, labelled(text="true")),
        "token_ids": (SCORE, labelled(token_ids=(1000,))),
    },
    Message: {
        "role": (TALK, said(role="system")),
        "content": (TALK, said(content="hi ")),
    },
}
"""{class: {field: (a request, the same with another value there)}}: each of these is another question."""


# --- How it is asked ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One process's way of asking; every field but `requests` steers that process only."""

    requests: Sequence[Request] = ROWS
    server: int = 0
    host: str = "127.0.0.1"
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the backend."""
    mode: CacheMode = CacheMode.USE
    one_by_one: bool = False
    purpose: str = ""
    keep_text: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A change, and how many prompts a right key asks after it."""

    change: str
    first: Run
    second: Run
    expected: int


def asks_again() -> list[Line]:
    """Return a line for each field of what is asked, and for what is asked beside it."""
    lines = [
        Line(change=f"{kind.__name__}.{name}", expected=1,
             first=Run(requests=[one]), second=Run(requests=[other]))
        for kind, fields in SEEN.items()
        for name, (one, other) in fields.items()
    ]  # fmt: skip
    prompt = replace(ASK, prompt="hi")
    return [
        *lines,
        Line(change="a prompt, then a chat of the same text", expected=1,
             first=Run(requests=[prompt]), second=Run(requests=[TALK])),
        Line(change="a prompt, then its label scores", expected=1,
             first=Run(requests=[replace(SCORE, labels=())]), second=Run(requests=[SCORE])),
        Line(change="one row added to three", expected=1,
             first=Run(), second=Run(requests=[*ROWS, replace(ASK, prompt="Row 3?")])),
        Line(change="one row of three changed", expected=1,
             first=Run(), second=Run(requests=[*ROWS[:2], replace(ASK, prompt="Row x?")])),
    ]  # fmt: skip


STEERING: Mapping[str, Run] = {
    "base_url": Run(server=1),
    "api_key": Run(settings={"api_key": SecretStr("another")}),
    "bounds": Run(settings={"bounds": ListBounds(max_prompts=1)}),
    "limit": Run(settings={"limit": AdaptiveLimit(initial=1, smallest=1)}),
    "hooks": Run(settings={"hooks": Hooks(tell=print)}),
    "timeout_seconds": Run(settings={"timeout_seconds": 7.0}),
    "retrier": Run(settings={"retrier": Retrier(policy=RetryPolicy(max_attempts=2))}),
    "waits_for_first_contact": Run(settings={"waits_for_first_contact": True}),
}
"""{setting of the backend: a run with another value of it}: none of these is another question."""


def asks_nothing() -> list[Line]:
    """Return a line for each setting of the backend, and for all other ways of asking the same."""
    others = {
        "another name of the same host": Run(host="localhost"),
        "one call for each prompt": Run(one_by_one=True),
        "another order of the prompts": Run(requests=ROWS[::-1]),
        "a prompt twice in one call": Run(requests=[*ROWS, *ROWS]),
        "another purpose": Run(purpose="something else"),
        "texts kept": Run(keep_text=True),
        "another group": Run(requests=[replace(one, group="of others") for one in ROWS]),
        "cache mode replay": Run(mode=CacheMode.REPLAY),
        "arguments in another order": Run(requests=[in_reverse(one) for one in ROWS]),
        "1 in place of 1.0": Run(requests=[whole(one) for one in ROWS]),
    }
    first = {"1 in place of 1.0": Run(requests=[in_ones(one) for one in ROWS])}
    lines = [
        Line(change=change, first=first.get(change, Run()), second=second, expected=0)
        for change, second in {**{f"setting {name}": run for name, run in STEERING.items()}, **others}.items()
    ]
    return [
        *lines,
        Line(change="nothing: label scores", expected=0,
             first=Run(requests=[SCORE]), second=Run(requests=[SCORE])),
        Line(change="nothing: a chat", expected=0,
             first=Run(requests=[TALK]), second=Run(requests=[TALK])),
        Line(change="nothing: after cache mode refresh", expected=0,
             first=Run(mode=CacheMode.REFRESH), second=Run()),
    ]  # fmt: skip


EXCUSED = {"expiry": "entries do not expire, so there is no setting that could be in a key"}
"""{line of the table in the comparison of others: why there is none here}"""


def in_reverse(request: Request) -> Request:
    """Make the same request with all its arguments, and those of its sampling, given the other way round."""
    sampling = {one.name: getattr(request.sampling, one.name) for one in dataclasses.fields(SamplingParams)}
    parts = {one.name: getattr(request, one.name) for one in dataclasses.fields(Request)}
    parts["sampling"] = SamplingParams(**dict(reversed(sampling.items())))
    return Request(**dict(reversed(parts.items())))


def in_ones(request: Request) -> Request:
    """Write the sampling's numbers as floats."""
    return replace(request, sampling=replace(SAMPLING, temperature=1.0, top_p=1.0))


def whole(request: Request) -> Request:
    """Write the same numbers as integers."""
    return replace(request, sampling=replace(SAMPLING, temperature=1, top_p=1))


def lines() -> list[Line]:
    """Return the whole table."""
    return [*asks_again(), *asks_nothing()]


# --- What must have a line ------------------------------------------------------------------------------


def values_in(kind: type) -> set[type]:
    """Return a dataclass and all dataclasses in its fields."""
    found = {kind}
    waiting: list[Any] = list(typing.get_type_hints(kind).values())
    while waiting:
        hint = waiting.pop()
        waiting.extend(typing.get_args(hint))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in found:
            found |= values_in(hint)
    return found


def settings_of(kind: type) -> set[str]:
    """Return the names of a backend's settings."""
    return set(inspect.signature(kind).parameters)


# --- Asking ---------------------------------------------------------------------------------------------


class Probe:
    """Asks of two servers that serve the same, and counts what reaches them.

    Args:
        servers: Fake vLLM servers that run.
        folder: For the stores, a fresh one for each line.
    """

    def __init__(self, servers: Sequence[FakeVLLM], folder: Path) -> None:
        self._servers = servers
        self._folder = folder

    async def asked(self, line: Line) -> int:
        """Return how many prompts of the second run reached a server."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            await self._run(line.first, Path(place))
            before = self._received(line.second.requests)
            await self._run(line.second, Path(place))
            return self._received(line.second.requests) - before

    async def _run(self, run: Run, place: Path) -> None:
        store = DiskStore(place)
        url = f"http://{run.host}:{self._servers[run.server].port}"
        async with VLLMServer(url, **run.settings) as backend:
            lookup = Lookup(store, run.mode)
            generator = Generator(backend=backend, lookup=lookup, keep_text=run.keep_text)
            calls = [[one] for one in run.requests] if run.one_by_one else [run.requests]
            for requests in calls:
                await generator(requests, purpose=run.purpose)
        store.close()

    def _received(self, requests: Sequence[Request]) -> int:
        digests = {_digest(request) for request in requests}
        counts = [server.stats()["prompt_digests"] for server in self._servers]
        return sum(times for count in counts for digest, times in count.items() if digest in digests)


def _digest(request: Request) -> str:
    if request.prompt is not None:
        return prompt_digest(request.prompt)
    return prompt_digest(render_chat([dataclasses.asdict(message) for message in request.messages]))


async def probe_all(probe: Probe) -> list[tuple[Line, int]]:
    """Ask all lines, one after the other."""
    return [(line, await probe.asked(line)) for line in lines()]


def main() -> None:
    """Print the table; the exit status says whether all of it is right."""
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeVLLM(models=MODELS)) for _ in range(2)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = asyncio.run(probe_all(Probe(servers, folder)))
    print(f"{'change':48} {'should ask':>10} {'asked':>6}")
    for line, asked in found:
        print(f"{line.change:48} {line.expected:10} {asked:6}  {'' if asked == line.expected else 'WRONG'}")
    wrong = sum(asked != line.expected for line, asked in found)
    print(f"{len(found)} changes, {wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
