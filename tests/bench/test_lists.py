"""Facts about the comparison of list sizes, against a server that answers at once."""

import pytest

from bench.lists import Cost, Workload, cells, measure, rows_of
from flows.settings import Settings
from tests.fake_vllm import FakeVLLM


def cost(rate: float) -> Cost:
    return Cost(prompts_a_second=rate, client_cpu_ms=1.0, server_cpu_ms=None)


TINY = Workload(name="tiny", prompts=6, words=3, in_flight=(1, 2))


async def test_every_way_of_asking_asks_all_prompts_in_lists_of_its_size_and_none_twice() -> None:
    with FakeVLLM() as server:
        settings = Settings().model_copy(update={"base_url": server.base_url})
        found = await measure(settings, [TINY], (1, 3), repetitions=2, limit=60.0)
        stats = server.stats()
    assert [len(costs) for costs in found.values()] == [2] * 4
    asked = 8 + 6 * 4 * 2  # the first eight warm the server up
    assert (stats["prompts"], len(stats["prompt_digests"])) == (asked, asked)
    assert stats["max_list"] == 8
    assert stats["by_path"]["/v1/completions"] == 1 + 2 * 2 * (6 + 2)


async def test_when_the_time_is_up_what_was_measured_is_kept() -> None:
    with FakeVLLM() as server:
        # The warm-up and the first cell are answered, one list each, and nothing after them.
        server.faults([{"kind": "ok", "times": 2}, {"kind": "hang", "seconds": 300, "times": -1}])
        settings = Settings().model_copy(update={"base_url": server.base_url})
        found = await measure(settings, [TINY], (6, 1), repetitions=1, limit=5.0)
    costs = list(found.values())
    assert len(costs[0]) == 1
    assert costs[-1] == []


def test_a_ratio_is_to_the_smallest_lists_with_as_many_requests_at_once() -> None:
    ways = cells([TINY], (1, 8))
    rates = dict(zip(ways, ([cost(2.0), cost(4.0)], [cost(6.0)], [cost(10.0)], []), strict=True))
    assert [(row["list_size"], row["requests_in_flight"], row["ratio"]) for row in rows_of(rates)] == [
        (1, 1, 1.0),
        (8, 1, pytest.approx(2.0)),
        (1, 2, 1.0),
    ]
