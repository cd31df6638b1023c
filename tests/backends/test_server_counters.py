"""What a vLLM server counts is read and subtracted, across restarts. Texts as vLLM 0.32.0 writes them."""

import pytest

from backends.server_counters import read_counters
from backends.vllm_server import VLLMServer
from tests.fake_vllm import FakeVLLM
from tests.helpers import completions, responses_of

PAGE = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="smollm2-135m"} 12.0
vllm:prefix_cache_queries_created{engine="0",model_name="smollm2-135m"} 1.795268659267598e+09
vllm:prefix_cache_hits_total{engine="0",model_name="smollm2-135m"} 4.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="smollm2-135m"} 7.0
vllm:num_preemptions_total{engine="0",model_name="smollm2-135m"} 1.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="smollm2-135m"} 12.0
vllm:prompt_tokens_total{engine="1",model_name="smollm2-135m"} 1.5e+03
vllm:prompt_tokens_created{engine="0",model_name="smollm2-135m"} 1.7952686592677724e+09
vllm:prompt_tokens_by_source_total{engine="0",model_name="smollm2-135m",source="local_compute"} 8.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="smollm2-135m",source="local_cache_hit"} 4.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="smollm2-135m",source="external_kv_transfer"} 0.0
vllm:prompt_tokens_by_source_created{engine="0",source="local_compute"} 1.7952686592677999e+09
vllm:prompt_tokens_cached_total{engine="0",model_name="smollm2-135m"} 4.0
vllm:generation_tokens_total{engine="0",model_name="smollm2-135m"} 13.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="smollm2-135m"} 2.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="smollm2-135m"} 6.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="smollm2-135m"} 3.0
vllm:num_requests_running{engine="0",model_name="smollm2-135m"} 0.0
http_requests_total{handler="/metrics",method="GET",status="2xx"} 27.0
"""


def test_the_counters_of_all_engines_are_added_up() -> None:
    counters = read_counters(PAGE)
    assert counters is not None
    assert counters.counts == {
        "prefix_cache_queries": 12,
        "prefix_cache_hits": 4,
        "preemptions": 1,
        "prompt_tokens": 1512,
        "prompt_tokens_computed": 8,
        "prompt_tokens_cached": 4,
        "prompt_tokens_transferred": 0,
        "generation_tokens": 13,
        "prompts_answered": 8,
        "prompts_aborted": 3,
    }


def test_a_run_has_the_difference() -> None:
    before = read_counters(PAGE)
    after = read_counters(PAGE.replace("} 13.0", "} 20.0").replace("} 4.0", "} 10.0"))
    assert before is not None
    assert after is not None
    difference = after.since(before)
    assert {name: count for name, count in difference.items() if count} == {
        "generation_tokens": 7,
        "prompt_tokens_cached": 6,
        "prefix_cache_hits": 6,
    }


def test_a_server_that_was_started_again_has_counted_from_nothing() -> None:
    before = read_counters(PAGE)
    again = read_counters(PAGE.replace("1.7952686592677724e+09", "1.7952696e+09"))
    assert before is not None
    assert again is not None
    assert again.since(before) == again.counts
    undated = PAGE.replace("vllm:prompt_tokens_created", "vllm:other_created")
    fallen = read_counters(undated.replace("} 13.0", "} 2.0"))
    assert fallen is not None
    assert fallen.since(read_counters(undated))["generation_tokens"] == 2


def test_nobody_looked_before_the_run() -> None:
    counters = read_counters(PAGE)
    assert counters is not None
    assert counters.since(None) == counters.counts


def test_other_programs_have_no_such_counters() -> None:
    assert read_counters('process_open_fds 12.0\nhttp_requests_total{status="2xx"} 1.0\n') is None


@pytest.mark.parametrize("value", ["many", "NaN", "+Inf"])
def test_counters_that_are_no_numbers_say_nothing(value: str) -> None:
    assert read_counters(f'vllm:prompt_tokens_total{{engine="0"}} {value}\n') is None


async def test_a_server_is_asked_for_its_counters(server: FakeVLLM) -> None:
    async with VLLMServer(server.base_url) as backend:
        before = await backend.counters()
        await responses_of(backend, completions(3))
        after = await backend.counters()
    assert after is not None
    assert after.since(before) == {"prompts_answered": 3}


async def test_a_server_that_hides_its_counters_or_is_away_has_none(server: FakeVLLM) -> None:
    async with VLLMServer(f"{server.base_url}/elsewhere") as backend:
        assert await backend.counters() is None
    async with VLLMServer("http://127.0.0.1:9") as backend:
        assert await backend.counters() is None
