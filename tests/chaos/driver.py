"""Runs two workers on one store against a server that fails at random, kills them, and does the accounts."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from backends.messages import Request, Response
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.keys import Key
from tasks.codec import decode_entry
from tasks.keys import request_key
from tests.chaos.questions import questions
from tests.chaos.server import stored_keys
from tests.fake_vllm import FakeVLLM, FakeVLLMProcess, JsonObject
from tests.helpers import responses_of

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.01
EARLIEST, LATEST = 0.02, 0.95
"""Between which shares of the work the kills fall."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much is asked, and what goes wrong."""

    prompts: int = 5000
    kills: int = 20
    fault_rate: float = 0.1
    seed: int = 20261121
    workers: int = 2
    latency_seconds: float = 0.15
    limit_seconds: float = 240.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of every question, by the server's own books."""

    prompts: int
    kills: int
    kills_in_flight: int
    """Kills of a process that had questions with the server, or answers that it had not stored."""
    seconds: float
    requests: int
    faults: dict[str, int]
    delivered: int
    """Answers that left the server whole, counted for each prompt."""
    cut_off: int
    """Prompts with the server when their asker was killed; the answer was delivered to nobody."""
    in_flight: int
    """Answers delivered to a process that was killed before it had stored them; asked again, rightly."""
    resent: int
    """Answers that somebody had, or could have had, and asked for again all the same."""
    asked_though_stored: int
    """Prompts that arrived at the server when their answer was in the store."""
    lost: int
    different: int
    """Answers that are not those of an undisturbed run."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, asked twice or changed."""
        return not (self.lost or self.resent or self.asked_though_stored or self.different)

    def summary(self) -> str:
        """Say it in one line."""
        return (
            f"chaos: {self.prompts} prompts, {self.kills} kills ({self.kills_in_flight} amid work), "
            f"{sum(self.faults.values())} faults in {self.requests} requests, {self.seconds:.0f} s: "
            f"{self.lost} lost, {self.resent} answered prompts re-sent, {self.different} different; "
            f"asked again because of a kill: {self.cut_off} unanswered, "
            f"{self.in_flight} delivered but not yet stored"
        )


@dataclass(slots=True)
class Worker:
    """A worker through all of its lives."""

    index: int
    command: Sequence[str]
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What the server knows the present life by."""
        return f"worker-{self.index}-{self.lives}"

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        arguments = [self.name if part == "NAME" else part for part in self.command]
        self.process = subprocess.Popen([*arguments, str(self.index)], cwd=ROOT)

    @property
    def is_done(self) -> bool:
        """Whether it has ended by itself.

        Raises:
            RuntimeError: With an error.
        """
        code = None if self.process is None else self.process.poll()
        if code:
            raise RuntimeError(f"{self.name} failed with {code}; its traceback is above")
        return code == 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@dataclass(slots=True)
class Books:
    """The server's ledger, as far as it has been read, and what was stored at each kill."""

    path: Path
    offset: int = 0
    arrivals: list[JsonObject] = field(default_factory=list[JsonObject])
    deliveries: dict[int, list[str]] = field(default_factory=lambda: defaultdict[int, list[str]](list))
    """{question: the clients that its answer was delivered to, in order}."""
    clients: set[str] = field(default_factory=set[str])
    stored_at_kill: dict[str, set[Key]] = field(default_factory=dict[str, set[Key]])

    def read(self) -> int:
        """Read on, and say how many questions have been answered."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.offset += len(line)
                    self._enter(json.loads(line))
        return len(self.deliveries)

    def _enter(self, row: JsonObject) -> None:
        self.clients.add(row["client"])
        if row["what"] == "arrived":
            self.arrivals.append(row)
        else:
            for number in row["numbers"]:
                self.deliveries[number].append(row["client"])


def run(plan: Plan, folder: Path) -> Report:
    """Do it all in an empty folder.

    Raises:
        RuntimeError: A worker failed, or the work took longer than the plan allows.
    """
    requests = questions(plan.prompts)
    store, ledger = folder / "store", folder / "ledger.jsonl"
    own = ["--ledger", str(ledger), "--store", str(store), "--count", str(plan.prompts)]
    own += ["--seed", str(plan.seed), "--rate", str(plan.fault_rate)]
    program = ("-m", "tests.chaos.server", *own)
    books = Books(ledger)
    started = time.monotonic()
    with FakeVLLMProcess(program=program, latency_seconds=plan.latency_seconds) as server:
        command = [sys.executable, "-m", "tests.chaos.worker", str(store), server.base_url, "NAME"]
        workers = [Worker(index, [*command, str(plan.prompts)]) for index in range(plan.workers)]
        with alive(workers):
            kills = torment(workers, books, plan, store)
            wait_for(workers, started + plan.limit_seconds)
        seconds = time.monotonic() - started
    books.read()
    return settle(requests, books, store, kills=kills, seconds=seconds)


@contextmanager
def alive(workers: Sequence[Worker]) -> Generator[None]:
    """Start workers, and leave none behind."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.kill()


def torment(workers: Sequence[Worker], books: Books, plan: Plan, store: Path) -> int:
    """Kill a worker whenever a random share of the work is done, and start it again."""
    dice = random.Random(plan.seed)
    moments = sorted(dice.uniform(EARLIEST, LATEST) * plan.prompts for _ in range(plan.kills))
    end = time.monotonic() + plan.limit_seconds
    for kills, moment in enumerate(moments):
        while books.read() < moment:
            if time.monotonic() > end:
                raise RuntimeError(f"only {kills} of {plan.kills} kills in {plan.limit_seconds:.0f} s")
            if are_done(workers):
                return kills
            time.sleep(POLL_SECONDS)
        time.sleep(dice.uniform(0, plan.latency_seconds))  # else every kill would follow on an answer
        busy = [one for one in workers if one.name in books.clients and not one.is_done]
        strike(dice.choice(busy or list(workers)), workers, books, store)
    return len(moments)


def strike(victim: Worker, workers: Sequence[Worker], books: Books, store: Path) -> None:
    """Kill one while the others hold their breath, note what the store has, and go on."""
    others = [one for one in workers if one is not victim]
    for one in others:
        one.send(signal.SIGSTOP)
    victim.kill()
    books.stored_at_kill[victim.name] = stored_keys(store)
    for one in others:
        one.send(signal.SIGCONT)
    victim.start()


def are_done(workers: Sequence[Worker]) -> bool:
    """Whether all have ended by themselves; looks at each, since any may have failed."""
    done = [worker.is_done for worker in workers]
    return all(done)


def wait_for(workers: Sequence[Worker], end: float) -> None:
    """Wait until all have ended by themselves."""
    while not are_done(workers):
        if time.monotonic() > end:
            raise RuntimeError("the workers are not done in time")
        time.sleep(POLL_SECONDS)


# --- settling -------------------------------------------------------------------------------------------


def settle(requests: Sequence[Request], books: Books, store: Path, *, kills: int, seconds: float) -> Report:
    """Compare what was delivered, what is stored, and what an undisturbed run answers."""
    keys = [request_key(request) for request in requests]
    disk = DiskStore(store)
    entries = disk.get(keys).entries
    disk.close()
    right = asyncio.run(undisturbed(requests))
    stored = {key: decode_entry(entry) for key, entry in entries.items()}
    in_flight, resent = excess(books, keys)
    cut = cut_off(books)
    lively = {client for client, _ in (*cut, *in_flight)}
    return Report(
        prompts=len(requests),
        kills=kills,
        kills_in_flight=len(lively),
        seconds=round(seconds, 1),
        requests=len(books.arrivals),
        faults=dict(Counter(cast("str", row["fault"]) for row in books.arrivals if row["fault"])),
        delivered=sum(len(clients) for clients in books.deliveries.values()),
        cut_off=len(cut),
        in_flight=len(in_flight),
        resent=resent,
        asked_though_stored=sum(len(row["stored"]) for row in books.arrivals),
        lost=sum(key not in stored for key in keys),
        different=sum(stored.get(key, one) != one for key, one in zip(keys, right, strict=True)),
    )


def excess(books: Books, keys: Sequence[Key]) -> tuple[list[tuple[str, int]], int]:
    """Return the deliveries that died with their receiver, and how many others were made in vain."""
    died: list[tuple[str, int]] = []
    resent = 0
    for number, clients in books.deliveries.items():
        for client in clients[:-1]:  # all but the last were not the last word
            stored = books.stored_at_kill.get(client)
            if stored is not None and keys[number] not in stored:
                died.append((client, number))
            else:
                resent += 1
    return died, resent


def cut_off(books: Books) -> list[tuple[str, int]]:
    """Return what killed processes had asked for last, and were never answered."""
    pending: set[tuple[str, int]] = set()
    for row in books.arrivals:
        if row["client"] in books.stored_at_kill and not row["fault"]:
            pending |= {(row["client"], number) for number in row["numbers"]}
    delivered = {(client, number) for number, clients in books.deliveries.items() for client in clients}
    return sorted(pending - delivered)


async def undisturbed(requests: Sequence[Request]) -> list[Response]:
    """Ask a server without faults, and store nothing."""
    with FakeVLLM() as server:
        async with VLLMServer(server.base_url) as backend:
            return await responses_of(backend, requests)
