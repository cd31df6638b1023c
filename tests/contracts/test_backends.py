"""Every backend keeps the same promises."""

from collections.abc import Generator
from contextlib import contextmanager

from backends.anthropic_api import AnthropicAPI
from backends.base import HookedBackend, Outcome
from backends.errors import BadRequestError
from backends.limiting import Limits
from backends.messages import Request, prompt_text
from backends.openai_compatible import OpenAICompatible
from backends.scripted import Scripted, echo
from backends.vllm_server import VLLMServer
from tests.contracts.backend_contract import BackendContract, HTTPBackendContract, Subject
from tests.fake_anthropic import FakeAnthropic, Fault
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps

FAST = Limits(requests_per_minute=1_000_000, max_in_flight=4)


def behind_a_fake(fake: FakeVLLM, backend: HookedBackend) -> Subject:
    def refuse(text: str) -> None:
        fake.faults([{"kind": "status", "status": 400, "match": text, "times": -1}])

    return Subject(backend=backend, refuse=refuse, asked=lambda: int(fake.stats()["requests"]))


class TestVLLMServer(HTTPBackendContract):
    @contextmanager
    def subject(self) -> Generator[Subject]:
        with FakeVLLM() as fake:
            yield behind_a_fake(fake, VLLMServer(fake.base_url, retrier=Naps().retrier()))


class TestOpenAICompatible(HTTPBackendContract):
    @contextmanager
    def subject(self) -> Generator[Subject]:
        with FakeVLLM() as fake:
            retrier = Naps().retrier()
            backend = OpenAICompatible(fake.base_url, api_key=None, limits=FAST, retrier=retrier)
            yield behind_a_fake(fake, backend)


class TestAnthropicAPI(HTTPBackendContract):
    @contextmanager
    def subject(self) -> Generator[Subject]:
        with FakeAnthropic() as fake:
            retrier = Naps().retrier()
            yield Subject(
                backend=AnthropicAPI(fake.base_url, api_key=None, limits=FAST, retrier=retrier),
                refuse=lambda text: fake.faults.append(Fault(status=400, match=text)),
                asked=lambda: len(fake.seen),
            )


class TestScripted(BackendContract):
    @contextmanager
    def subject(self) -> Generator[Subject]:
        refused: list[str] = []
        asked: list[Request] = []

        def script(request: Request) -> Outcome:
            asked.append(request)
            if any(text in prompt_text(request) for text in refused):
                return BadRequestError("as told")
            return echo(request)

        backend = Scripted(script, max_prompts=1)
        yield Subject(backend=backend, refuse=refused.append, asked=lambda: len(asked))
