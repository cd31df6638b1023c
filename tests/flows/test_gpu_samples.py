"""Figures of a long run stay small, and their extremes stay true."""

from itertools import pairwise
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from backends.readings import GPUReading, Readings, ServerReading
from flows.gpu_samples import KV_CACHE, MOST_POINTS, Samples, Series

HERE = "http://127.0.0.1:8000"


def reading(use: float = 0.5, waiting: int = 0, preemptions: int | None = 0) -> Readings:
    server = ServerReading(server=HERE, kv_cache_usage=use, requests_waiting=waiting, preemptions=preemptions)
    return Readings(servers=(server,))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3 * MOST_POINTS))
def test_a_series_is_bounded_and_evenly_thinned_out(values: list[float]) -> None:
    series = Series()
    for at, value in enumerate(values):
        series.add(float(at), value)
    assert 1 <= len(series.points) <= MOST_POINTS
    assert (series.least, series.most) == (min(values), max(values))
    times = [at for at, _ in series.points]
    steps = {after - before for before, after in pairwise(times)}
    assert times[0] == 0
    assert len(steps) <= 1
    assert len(values) - times[-1] <= (steps or {1}).pop()
    assert all(value == values[int(at)] for at, value in series.points)


def test_a_night_of_readings_keeps_its_peak() -> None:
    series = Series()
    for second in range(0, 10 * 3600, 15):
        series.add(float(second), 99.0 if second == 15 * 1001 else second % 50)
    assert (series.least, series.most) == (0, 99)
    assert MOST_POINTS / 2 <= len(series.points) <= MOST_POINTS
    times = [at for at, _ in series.points]
    assert {after - before for before, after in pairwise(times)} == {15 * 8}
    assert series.middle == median(value for _, value in series.points)


def test_rows_tell_least_median_and_most() -> None:
    samples = Samples()
    assert not samples
    gpu = GPUReading(index=1, name="Fake", used_bytes=3 * 2**29, total_bytes=2**31)
    for at, (use, waiting, preemptions) in enumerate([(0.1, 0, 5), (0.956, 7, 8), (0.4, 1, 8)]):
        readings = reading(use, waiting, preemptions)
        samples.add(float(at), Readings(servers=readings.servers, gpus=(gpu,)))
    assert samples
    assert [tuple(row.values()) for row in samples.rows()] == [
        (HERE, "KV cache, %", 10.0, 40.0, 95.6),
        (HERE, "requests waiting", 0, 1, 7),
        (HERE, "requests preempted since the first reading", 0, 3, 3),
        ("GPU 1 (Fake)", "memory used, GiB", 1.5, 1.5, 1.5),
    ]
    assert [where for where, _ in samples.of(KV_CACHE)] == [HERE]


def test_preemptions_before_and_after_a_restart_are_added_up() -> None:
    samples = Samples()
    for at, preemptions in enumerate([5, 8, 2, 3, None]):
        samples.add(float(at), reading(preemptions=preemptions))
    assert samples.rows()[2]["most"] == 6
    assert len(samples.series[HERE, KV_CACHE].points) == 5
