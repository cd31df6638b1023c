"""Alarms are about what is short of memory, are told once, and are over only when they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gpu_alerts import CALM_READINGS, Alarms, figures
from backends.readings import GPUReading, Readings, ServerReading

HERE, FAR = "http://127.0.0.1:8000", "http://10.0.0.7:8000"
TOTAL = 80 * 2**30


def gpu(share: float, *, vllm_holds: bool | None = None) -> GPUReading:
    return GPUReading(
        index=0, name="Fake", used_bytes=round(share * TOTAL), total_bytes=TOTAL, vllm_holds=vllm_holds
    )


def server(use: float = 0.1, waiting: int = 0, preemptions: int | None = 0, at: str = HERE) -> ServerReading:
    return ServerReading(
        server=at, kv_cache_usage=use, requests_waiting=waiting, requests_running=3, preemptions=preemptions
    )


def told(alarms: Alarms, *readings: GPUReading | ServerReading) -> list[str]:
    gpus = tuple(one for one in readings if isinstance(one, GPUReading))
    servers = tuple(one for one in readings if isinstance(one, ServerReading))
    return [alert.kind for alert in alarms.look(Readings(gpus=gpus, servers=servers))]


def kinds(alarms: Alarms) -> list[str]:
    return [alert.kind for alert in alarms.standing]


def test_a_gpu_that_is_nearly_full_is_told_once_until_it_is_over() -> None:
    alarms = Alarms()
    said = [told(alarms, gpu(share)) for share in (0.5, 0.9, 0.95, 0.89, 0.91, 0.84, 0.89, 0.9)]
    assert said == [[], ["gpu-memory"], [], [], [], [], [], ["gpu-memory"]]
    assert "GPU 0 (Fake) holds 72.0 GiB of 80.0 GiB (90%)" in alarms.standing[0].sentence


def test_the_limit_is_a_parameter() -> None:
    assert told(Alarms(0.5), gpu(0.5)) == ["gpu-memory"]
    assert told(Alarms(0.95), gpu(0.93)) == []


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.1, float("nan")])
def test_a_limit_that_is_no_share_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="alert_fraction"):
        Alarms(fraction)


@pytest.mark.parametrize(
    ("vllm_holds", "servers", "is_told"),
    [
        (True, [], False),
        (True, [server()], False),
        (False, [server()], True),
        (None, [], True),
        (None, [server()], False),
        (None, [server(at=FAR)], True),
    ],
)
def test_memory_that_a_server_took_when_it_started_is_not_alarming(
    *, vllm_holds: bool | None, servers: list[ServerReading], is_told: bool
) -> None:
    assert (told(Alarms(), gpu(0.95, vllm_holds=vllm_holds), *servers) == ["gpu-memory"]) is is_told


def test_a_full_cache_is_alarming_when_requests_wait_for_it() -> None:
    alarms = Alarms()
    assert told(alarms, server(0.99)) == []
    assert told(alarms, server(0.89, waiting=9)) == []
    assert told(alarms, server(0.9, waiting=1)) == ["kv-cache"]
    assert told(alarms, server(0.99)) == []
    assert told(alarms, server(0.86, waiting=1)) == []
    assert kinds(alarms) == ["kv-cache"]
    assert told(alarms, server(0.84, waiting=1)) == []
    assert kinds(alarms) == []
    assert told(alarms, server(1.0, waiting=2)) == ["kv-cache"]


def test_preemptions_are_alarming_while_there_are_more_of_them() -> None:
    alarms = Alarms()
    assert told(alarms, server(preemptions=7)) == []  # from before this was looked at
    assert told(alarms, server(preemptions=9)) == ["preemptions"]
    assert "2 running requests" in alarms.standing[0].sentence
    assert told(alarms, server(preemptions=12)) == []
    for _ in range(CALM_READINGS - 1):
        assert told(alarms, server(preemptions=12)) == []
        assert kinds(alarms) == ["preemptions"]
    told(alarms, server(preemptions=12))
    assert kinds(alarms) == []
    assert told(alarms, server(preemptions=13)) == ["preemptions"]


def test_a_server_that_was_started_again_has_preempted_nobody() -> None:
    alarms = Alarms()
    told(alarms, server(preemptions=7))
    assert told(alarms, server(preemptions=2)) == []
    assert told(alarms, server(preemptions=None)) == []
    assert told(alarms, server(preemptions=3)) == ["preemptions"]


def test_what_is_not_read_stays_as_it_was() -> None:
    alarms = Alarms()
    told(alarms, gpu(0.95), server(0.99, waiting=1, at=FAR))
    assert told(alarms) == []
    assert kinds(alarms) == ["gpu-memory", "kv-cache"]
    assert told(alarms, gpu(0.95), server(0.99, waiting=1, at=FAR)) == []


@given(st.lists(st.floats(0, 1), max_size=50))
def test_an_alarm_is_told_again_only_after_it_was_over(shares: list[float]) -> None:
    alarms, stands = Alarms(), False
    for share in shares:
        new = told(alarms, gpu(share))
        assert not (stands and new)
        stands = bool(kinds(alarms))
        assert bool(new) <= stands
        exact = gpu(share).used_fraction
        assert stands or exact < 0.9
        assert not stands or exact >= 0.85


def test_figures_are_for_people() -> None:
    hot = GPUReading(
        index=1, name="x", used_bytes=2**30, total_bytes=2**31, utilization=0.5, temperature=61.0
    )
    readings = Readings(gpus=(gpu(0.5), hot), servers=(server(0.25, waiting=2, preemptions=4),))
    assert list(figures(readings)) == [
        "http://127.0.0.1:8000: KV cache 25% full, 2 waiting, 3 running, 4 preempted",
        "GPU 0: 40.0 GiB of 80.0 GiB",
        "GPU 1: 1.0 GiB of 2.0 GiB, 50% busy, 61 °C",
    ]
