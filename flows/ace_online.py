"""The flow `ace-online`: answer rows in windows, and learn from each window after it was answered."""

import time
from collections.abc import Sequence
from typing import Any

import anyio.to_thread

from flows.ace import publish, result_of
from flows.ace_parameters import AceOnlineParameters
from flows.ace_results import Method, ace_directory
from flows.ace_session import Session, open_session
from flows.ace_source import open_online
from flows.estimates import show_estimate
from flows.run import open_run
from flows.settings import load_settings
from flows.workflow import workflow
from tasks.ace.adapting import Online
from tasks.ace.evaluation import Evaluation
from tasks.ace.playbook import Playbook
from tasks.ace.values import Row

Summary = dict[str, Any]

NAME = "ace-online"


@workflow(NAME)
async def ace_online(parameters: AceOnlineParameters) -> Summary:
    """Answer rows with a playbook that learns from those before them; score all windows together.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`.
    """
    source = await anyio.to_thread.run_sync(open_online, parameters)
    settings = load_settings()
    async with open_run(parameters, settings) as run:
        directory = ace_directory(
            settings.runs, parameters, flow=NAME, task=source.task.name, model=run.model, data=source.digest
        )
        started = time.monotonic()
        session = await open_session(parameters, run, source, directory, total=len(source.test))
        try:
            if run.estimator:
                await learn_online(parameters, session)
                return await show_estimate(run)
            async with session.progress.shown():
                methods = await learn_online(parameters, session)
        except BaseException:
            session.costs.interrupted()
            raise
        result = result_of(session, NAME, methods, started)
    return await publish(result, directory)


async def learn_online(parameters: AceOnlineParameters, session: Session) -> list[Method]:
    """Go through the windows, then answer all rows without a playbook."""
    rows = session.source.test

    async def test(playbook: Playbook, window: Sequence[Row], purpose: str) -> Evaluation:
        return await session.evaluate(session.asking(playbook), window, name="window", purpose=purpose)

    loop = Online(
        learner=session.learner(rows),
        evaluate=test,
        window=parameters.window,
        batch_size=parameters.batch_size,
        room=session.tidying.room,
    )
    await session.follow(loop.events(session.source.start, rows))
    name = "no playbook"
    evaluation = await session.evaluate(session.asking(Playbook()), rows, name=name, purpose="all rows")
    return [Method(name=name, note="the questions alone", evaluation=evaluation, parts=(name,))]
