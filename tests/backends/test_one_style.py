"""Two styles of log-probabilities are never with a server at once, and neither starves."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from backends.one_style import OneStyle

STYLES = st.sampled_from(["ids", "top", None])
STEPS = st.lists(st.tuples(STYLES, st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=25)


@given(STEPS)
def test_however_they_come_styles_do_not_mix_and_all_get_in(
    steps: list[tuple[str | None, int, int, bool]],
) -> None:
    """Each step: a style, turns to wait before, turns to stay inside, and whether it gives up waiting."""

    async def play() -> None:
        gate, inside, entered = OneStyle(), list[str](), 0

        async def visit(style: str | None, before: int, stay: int) -> None:
            nonlocal entered
            for _ in range(before):
                await asyncio.sleep(0)
            async with gate.only(style):
                entered += 1
                if style:
                    inside.append(style)
                    assert len(set(inside)) == 1
                try:
                    for _ in range(stay):
                        await asyncio.sleep(0)
                finally:
                    if style:
                        inside.remove(style)

        tasks = [asyncio.create_task(visit(style, before, stay)) for style, before, stay, _ in steps]
        await asyncio.sleep(0)
        for task, (*_, gives_up) in zip(tasks, steps, strict=True):
            if gives_up:
                task.cancel()
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        failures = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
        assert failures == []
        assert entered >= sum(not gives_up for *_, gives_up in steps)

    asyncio.run(play())


async def test_who_comes_later_waits_behind_another_style_and_those_of_one_style_go_together() -> None:
    gate = OneStyle()
    order: list[str] = []

    async def visit(name: str, style: str) -> None:
        async with gate.only(style):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(visit("a", "ids"), visit("b", "top"), visit("c", "ids"), visit("d", "top"))
    assert order == ["a", "b", "d", "c"]  # "c" may not overtake "b", or "b" might wait for ever
