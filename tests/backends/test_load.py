"""What a vLLM server says of its load is read, whatever else it says. Texts as vLLM 0.32.0 writes them."""

import pytest

from backends.load import Load, load_from_header, load_from_metrics, process_start

HEADER = 'JSON {"named_metrics": {"num_requests_waiting": 12.0, "kv_cache_usage_perc": 0.25}}'
METRICS = """\
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.25
vllm:num_preemptions_total{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="0",model_name="tiny"} 5.0
vllm:num_requests_running{engine="1",model_name="tiny"} 6.0
"""


def test_the_header_of_an_answer_tells_the_load() -> None:
    assert load_from_header({"endpoint-load-metrics": HEADER}) == Load(waiting=12, kv_use=0.25)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "TEXT a=1",
        "JSON {}",
        'JSON {"named_metrics": []}',
        "JSON [1",
        HEADER.replace("12.0", "1e999"),
        "JSON " + "[" * 5000,
    ],
)
def test_a_server_that_says_nothing_readable_has_no_load(header: str) -> None:
    assert load_from_header({"endpoint-load-metrics": header} if header else {}) is None


def test_requests_of_all_engines_are_added_up_and_the_fullest_cache_is_told() -> None:
    assert load_from_metrics(METRICS) == Load(waiting=7, kv_use=0.5, preemptions=2, running=11)


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_a_cache_use_that_is_no_share_says_nothing(value: str) -> None:
    assert load_from_metrics(METRICS.replace(" 0.5\n", f" {value}\n")) is None


@pytest.mark.parametrize("value", ["many", "NaN", "+Inf", ""])
def test_metrics_that_are_no_numbers_say_nothing(value: str) -> None:
    assert load_from_metrics(METRICS.replace(" 2.0\n", f" {value}\n")) is None


def test_metrics_of_another_program_say_nothing() -> None:
    assert load_from_metrics("process_open_fds 12.0\n") is None


def test_the_metrics_tell_when_the_process_began() -> None:
    page = f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.76373e+09\n{METRICS}"
    assert process_start(page) == 1.76373e9
    assert process_start(METRICS) is None
    assert process_start("process_start_time_seconds soon\n") is None
