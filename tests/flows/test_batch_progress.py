"""The line that people see: how far, how fast, how long."""

from flows.batch_progress import BatchProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_prompts_of_batches_that_go_on_count_once() -> None:
    progress = BatchProgress(total=100)
    progress.watch("a", 10, 40)
    progress.watch("b", 5, 40)
    progress.watch("a", 30, 40)
    assert progress.done == 35
    progress.finish("a", 40)
    assert progress.done == 45


def test_rate_and_rest_are_those_of_the_last_minute() -> None:
    clock = Clock()
    progress = BatchProgress(total=10_000, clock=clock)
    assert progress.line() == "0 of 10000 prompts answered"
    progress.finish("stored", 5000)  # at once, from the store
    for second in range(1, 101):
        clock.now = float(second)
        progress.watch("a", 10 * second, 5000)
        progress.line()
    assert progress.line() == "6000 of 10000 prompts answered, 10.0 a second, about 7 min left"
    progress.finish("a", 5000)
    assert progress.line() == "10000 of 10000 prompts answered"
