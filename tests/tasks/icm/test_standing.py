"""What a standing remembers of the search's history."""

from tasks.icm.orders import TreeOrder, TreeTailOrder
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings
from tasks.icm.standing import Standing
from tasks.icm.state import LONGEST_TAIL, Evaluator, settled
from tests.tasks.icm.made_up import LABELS, PlainAsk, asking, made_draw, read_prompt


def last_shown(ask: PlainAsk, number: int) -> set[tuple[str, ...]]:
    """Return which claims the prompts since the last call show at their ends."""
    found = {tuple(claim for claim, _ in read_prompt(prompt)[0][-number:]) for prompt in ask.prompts}
    ask.backend.asked.clear()
    return found


async def test_a_tail_shows_the_latest_change_last_until_it_is_too_long() -> None:
    drawn = made_draw(groups=4)
    ask = asking()
    order = TreeTailOrder(TreeOrder(len(drawn.claims), 0))
    prompter = Prompter(claims=drawn.claims, model="made-up", labels=LABELS, order=order)
    evaluator = Evaluator(drawn, None, prompter, SearchSettings(), ask)
    standing = Standing(await evaluator.evaluate(drawn.seed_labels, "seeds"), evaluator)
    labels, tail = dict(drawn.seed_labels), ()
    changes = (12, 3, 15, 9, 10)
    assert len(changes) == LONGEST_TAIL + 1
    for number, uid in enumerate(changes, start=1):
        ask.backend.asked.clear()
        labels = {**labels, uid: 1 - labels.get(uid, 0)}
        state = await standing.changed(labels, "pool")
        tail = tuple(drawn.claims[one].choice for one in changes[:number])
        assert tail in last_shown(ask, number)
        standing = standing.follow(state)
    await standing.proposal(14, 1)
    assert tail not in last_shown(ask, len(tail))  # the tree is built anew
    assert settled(changes[:LONGEST_TAIL]) == changes[:LONGEST_TAIL]
    assert settled(changes) == ()
