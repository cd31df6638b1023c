"""A server with 64 slots of 150 ms a prompt that speaks vLLM's dialect and counts whatever it is asked.

    python -m bench.slots_server --slots 64 --seconds 0.15 --fault-fraction 0.1

It writes its address to standard output. It runs no model: an answer is a digest of its prompt. It is HTTP
on bare asyncio, because client and server of a measurement share a machine: this one must cost little.
"""

import argparse
import asyncio
import functools
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, cast

from bench.questions import answer_to, prompt_digest
from bench.slots import Job, Slots

JsonObject = dict[str, Any]

MODEL = "slots"
FINGERPRINT = "slots-server"
BLOCK = 10
"""Faults are dealt by blocks of so many requests, so that their share does not depend on luck."""
RETRY_AFTER_SECONDS = 1

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_WANTS_LOAD = re.compile(rb"\r\nendpoint-load-metrics-format: *json", re.IGNORECASE)


@dataclass(kw_only=True)
class Counts:
    """What the server saw; a prompt is answered when the last byte of its reply was handed to the kernel."""

    requests: int = 0
    """Of completions, faults and repetitions included."""
    prompts: int = 0
    """In all these requests, those that met a fault included."""
    answered: int = 0
    """Prompts whose answer was written, repetitions included."""
    answered_once: int = 0
    """Different prompts whose answer was written."""
    resent_though_answered: int = 0
    """Prompts that were asked when their answer had been written before."""
    faults: dict[str, int] = field(default_factory=dict[str, int])
    """{HTTP status: requests that were answered so}"""
    abandoned: int = 0
    """Requests whose client went away."""
    probes: dict[str, int] = field(default_factory=dict[str, int])
    """{path: requests} of everything else."""
    connections: int = 0
    list_sizes: dict[int, int] = field(default_factory=dict[int, int])
    """{prompts in a request: requests}"""
    most_open: int = 0
    """Requests of completions that were open at once, at most."""


class Faults:
    """Which requests fail, and how: the same in every run with the same seed.

    Args:
        fraction: In every block of ten requests, this share fails: half by 500, half by 429.
        seed: Of the dice.
    """

    def __init__(self, fraction: float, seed: int) -> None:
        self._in_block = round(fraction * BLOCK)
        self._rng = random.Random(seed)
        self._block: list[bool] = []
        self._kinds = 0

    def next_status(self) -> HTTPStatus | None:
        """Say how the next request fails, if it does."""
        if not self._block:
            self._block = [number < self._in_block for number in range(BLOCK)]
            self._rng.shuffle(self._block)
        if not self._block.pop():
            return None
        self._kinds += 1
        return HTTPStatus.TOO_MANY_REQUESTS if self._kinds % 2 else HTTPStatus.INTERNAL_SERVER_ERROR


class SlotsServer:
    """The model behind all connections."""

    def __init__(self, slots: Slots, faults: Faults) -> None:
        self.slots = slots
        self.counts = Counts()
        self._faults = faults
        self._asked: Counter[str] = Counter()  # {digest of a prompt: times}
        self._answered: Counter[str] = Counter()
        self._open = 0
        self._watchers: list[tuple[int, Callable[[], None]]] = []

    def serve(self, connection: "Connection", method: str, target: str, body: bytes) -> None:
        """Answer one request, now or later."""
        path, _, query = target.partition("?")
        if path == "/v1/completions" and method == "POST":
            self._complete(connection, body)
        elif path == "/slots/wait":
            number = int(query.removeprefix("answered="))
            self._watchers.append((number, lambda: connection.send_json(self.report())))
            self._tell_watchers()
        elif path == "/slots/counts":
            connection.send_json(self.report())
        elif path == "/slots/prompts":
            times = {digest: [self._asked[digest], self._answered[digest]] for digest in self._asked}
            connection.send_json(times)
        elif (payload := probe_replies(self).get(path)) is not None:
            self.counts.probes[path] = self.counts.probes.get(path, 0) + 1
            connection.send(HTTPStatus.OK, payload)
        else:
            self.counts.probes[path] = self.counts.probes.get(path, 0) + 1
            connection.send_error(HTTPStatus.NOT_FOUND, "Not Found")

    def report(self) -> JsonObject:
        """Return the counts, and the CPU time that this server has used."""
        return {**asdict(self.counts), "server_cpu_seconds": time.process_time()}

    def load(self) -> dict[str, float]:
        """Return vLLM's gauges."""
        return {
            "num_requests_running": float(self.slots.running),
            "num_requests_waiting": float(self.slots.waiting),
            "kv_cache_usage_perc": self.slots.running / (self.slots.running + self.slots.free),
        }

    def _complete(self, connection: "Connection", body: bytes) -> None:
        asked = cast("JsonObject", json.loads(body))
        prompts: list[str] = [asked["prompt"]] if isinstance(asked["prompt"], str) else asked["prompt"]
        digests = [prompt_digest(prompt) for prompt in prompts]
        self.counts.requests += 1
        self.counts.prompts += len(prompts)
        self.counts.list_sizes[len(prompts)] = self.counts.list_sizes.get(len(prompts), 0) + 1
        self.counts.resent_though_answered += sum(digest in self._answered for digest in digests)
        self._asked.update(digests)
        if status := self._faults.next_status():
            name = str(status.value)
            self.counts.faults[name] = self.counts.faults.get(name, 0) + 1
            connection.send_error(status, "a fault, as ordered")
            return
        self._open += 1
        self.counts.most_open = max(self.counts.most_open, self._open)

        def reply() -> None:
            self._open -= 1
            connection.jobs.discard(job)
            connection.send_json(completion(asked, prompts), lambda: self._count_answers(digests))

        job = self.slots.submit(len(prompts), reply)
        connection.jobs.add(job)

    def abandon(self, jobs: Sequence[Job]) -> None:
        """Drop what a client that went away had asked."""
        for job in jobs:
            self._open -= 1
            self.counts.abandoned += 1
            self.slots.abandon(job)

    def _count_answers(self, digests: Sequence[str]) -> None:
        self.counts.answered += len(digests)
        self._answered.update(digests)
        self.counts.answered_once = len(self._answered)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        due = [watcher for watcher in self._watchers if watcher[0] <= self.counts.answered_once]
        self._watchers = [watcher for watcher in self._watchers if watcher not in due]
        for _, tell in due:
            tell()


class Connection(asyncio.Protocol):
    """One client's HTTP/1.1 connection, kept alive; one request at a time."""

    def __init__(self, server: SlotsServer) -> None:
        self.jobs: set[Job] = set()
        self._server = server
        self._received = b""
        self._wants_load = False
        self._unwritten: list[Callable[[], None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be told when everything is written."""
        self._server.counts.connections += 1
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Abandon what the client had asked; what was not written is not answered."""
        del exc
        self._unwritten.clear()
        self._server.abandon(list(self.jobs))
        self.jobs.clear()

    def data_received(self, data: bytes) -> None:
        """Serve every whole request that is there."""
        self._received += data
        while True:
            head, mark, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length.group(1)) if length else 0
            if not mark or len(rest) < size:
                return
            self._received = rest[size:]
            self._wants_load = bool(_WANTS_LOAD.search(head))
            method, target, _ = head.split(b" ", 2)
            self._server.serve(self, method.decode(), target.decode(), rest[:size])

    def send_json(self, payload: object, on_written: Callable[[], None] = lambda: None) -> None:
        """Reply with JSON; `on_written` is called when all of it was handed to the kernel."""
        self.send(HTTPStatus.OK, json.dumps(payload).encode(), on_written=on_written)

    def send_error(self, status: HTTPStatus, message: str) -> None:
        """Reply with an error as vLLM writes it."""
        error = {"message": message, "type": status.phrase, "param": None, "code": status.value}
        retry = f"retry-after: {RETRY_AFTER_SECONDS}\r\n" if status == HTTPStatus.TOO_MANY_REQUESTS else ""
        self.send(status, json.dumps({"error": error}).encode(), headers=retry)

    def send(
        self,
        status: HTTPStatus,
        payload: bytes,
        *,
        headers: str = "",
        on_written: Callable[[], None] = lambda: None,
    ) -> None:
        """Reply."""
        if self._transport.is_closing():
            return
        if self._wants_load:
            headers += f"endpoint-load-metrics: JSON {json.dumps({'named_metrics': self._server.load()})}\r\n"
        kind = "application/json" if payload[:1] in b"{[" else "text/plain"
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(payload)}\r\n{headers}\r\n"
        )
        self._unwritten.append(on_written)
        self._transport.write(head.encode() + payload)
        if not self._transport.get_write_buffer_size():
            self.resume_writing()

    def resume_writing(self) -> None:
        """Everything is written."""
        done, self._unwritten = self._unwritten, []
        for tell in done:
            tell()


# --- What is answered -----------------------------------------------------------------------------------


def completion(asked: Mapping[str, Any], prompts: Sequence[str]) -> JsonObject:
    """Write the reply of /v1/completions."""
    return {
        "id": "cmpl-0",
        "object": "text_completion",
        "created": int(time.time()),
        "model": asked["model"],
        "choices": [
            {
                "index": index,
                "text": answer_to(prompt),
                "logprobs": _logprobs(asked, prompt),
                "finish_reason": "length",
                "stop_reason": None,
            }
            for index, prompt in enumerate(prompts)
        ],
        "system_fingerprint": FINGERPRINT,
        "usage": {
            "prompt_tokens": 8 * len(prompts),
            "completion_tokens": len(prompts),
            "total_tokens": 9 * len(prompts),
        },
    }


def _logprobs(asked: Mapping[str, Any], prompt: str) -> JsonObject | None:
    if asked.get("logprobs") is None:
        return None
    token_ids = cast("list[int]", asked.get("logprob_token_ids") or range(int(asked["logprobs"])))
    top = {f"token_id:{token_id}": -1.0 - token_id / 1024 for token_id in token_ids}
    text = answer_to(prompt)
    return {
        "text_offset": [0],
        "tokens": [text],
        "token_logprobs": [-0.5],
        "top_logprobs": [{text: -0.5, **top}],
    }


@functools.cache
def _fixed_replies() -> dict[str, bytes]:
    fields = ("prompt", "model", "max_tokens", "temperature", "seed", "logprobs", "logprob_token_ids")
    schema = {"properties": {name: {"title": name} for name in fields}, "type": "object"}
    openapi: JsonObject = {
        "openapi": "3.1.0",
        "paths": {path: {} for path in ("/health", "/version", "/v1/models", "/v1/completions")},
        "components": {"schemas": {"CompletionRequest": schema}},
    }
    card = {"id": MODEL, "object": "model", "owned_by": "vllm", "root": MODEL, "max_model_len": 8192}
    return {
        "/health": b"",
        "/version": b'{"version":"0.32.0"}',
        "/v1/models": json.dumps({"object": "list", "data": [card]}).encode(),
        "/openapi.json": json.dumps(openapi).encode(),
    }


def probe_replies(server: SlotsServer) -> dict[str, bytes]:
    """Return {path: reply} of what a client looks at before and while it asks."""
    gauges = "".join(
        f'vllm:{name}{{engine="0",model_name="{MODEL}"}} {value}\n' for name, value in server.load().items()
    )
    preemptions = f'vllm:num_preemptions_total{{engine="0",model_name="{MODEL}"}} 0.0\n'
    return {**_fixed_replies(), "/metrics": (gauges + preemptions).encode()}


# --- The process ----------------------------------------------------------------------------------------


async def run(slots: int, seconds: float, faults: Faults) -> None:
    """Serve until the process is told to end."""
    loop = asyncio.get_running_loop()
    server = SlotsServer(Slots(slots, seconds, loop.call_later), faults)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0)
    port = cast("tuple[str, int]", listening.sockets[0].getsockname())[1]
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.15, help="that a prompt holds its slot")
    parser.add_argument("--fault-fraction", type=float, default=0.0, help="of the requests")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    options = parser.parse_args()
    asyncio.run(run(options.slots, options.seconds, Faults(options.fault_fraction, options.seed)))


if __name__ == "__main__":
    main()
