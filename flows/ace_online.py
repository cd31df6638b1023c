"""The flow `ace-online`: answer rows in windows, and learn from each window after it was answered."""

from collections.abc import Sequence
from functools import partial

import anyio.to_thread

from flows.ace_baselines import NO_PLAYBOOK
from flows.ace_parameters import AceOnlineParameters
from flows.ace_results import BEST, Method
from flows.ace_running import Summary, run_loop
from flows.ace_session import LEARNING, Session
from flows.ace_source import open_online
from flows.workflow import workflow
from tasks.ace.adapting import Online
from tasks.ace.evaluation import Evaluation
from tasks.ace.playbook import Playbook
from tasks.ace.values import Row

NAME = "ace-online"
WINDOW = "window"


@workflow(NAME)
async def ace_online(parameters: AceOnlineParameters) -> Summary:
    """Answer rows with a playbook that learns from those before them; score all windows together.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`.
    """
    source = await anyio.to_thread.run_sync(open_online, parameters)
    loop = partial(learn_online, parameters)
    return await run_loop(NAME, parameters, source, loop, total=len(source.test))


async def learn_online(parameters: AceOnlineParameters, session: Session) -> list[Method]:
    """Go through the windows, then answer all rows without a playbook."""
    rows, windows = session.source.test, list[Evaluation]()

    async def test(playbook: Playbook, window: Sequence[Row], purpose: str) -> Evaluation:
        evaluation = await session.evaluate(session.asking(playbook), window, name=WINDOW, purpose=purpose)
        windows.append(evaluation)
        return evaluation

    loop = Online(
        learner=session.learner(rows),
        evaluate=test,
        window=parameters.window,
        batch_size=parameters.batch_size,
        room=session.tidying.room,
    )
    await session.follow(loop.events(session.source.start, rows))
    alone = await session.evaluate(session.asking(Playbook()), rows, name=NO_PLAYBOOK, purpose="all rows")
    return [
        Method(
            name=BEST,
            note=f"{len(windows)} windows, each before it was learnt from; with the costs of learning",
            evaluation=Evaluation(rows=tuple(row for one in windows for row in one.rows)),
            parts=(*LEARNING, WINDOW),
        ),
        Method(name=NO_PLAYBOOK, note="the question alone", evaluation=alone, parts=(NO_PLAYBOOK,)),
    ]
