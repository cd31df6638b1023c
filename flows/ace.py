"""The flow `ace`: learn a playbook from train rows, choose the best on validation rows, test it."""

from collections.abc import Sequence
from functools import partial

import anyio.to_thread

from flows.ace_baselines import Baselines
from flows.ace_parameters import AceParameters
from flows.ace_results import BEST, Method
from flows.ace_running import Summary, best_of, run_loop
from flows.ace_session import LEARNING, VALIDATION, Session
from flows.ace_source import open_offline
from flows.workflow import workflow
from tasks.ace.adapting import Offline
from tasks.ace.evaluation import Evaluation
from tasks.ace.playbook import Playbook
from tasks.ace.values import Row


@workflow("ace")
async def ace(parameters: AceParameters) -> Summary:
    """Learn a playbook by Agentic Context Engineering, and test it beside baselines.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, accuracies, edits, cost, where the files are.
    """
    source = await anyio.to_thread.run_sync(open_offline, parameters)
    total = parameters.epochs * len(source.train)
    return await run_loop("ace", parameters, source, partial(learn_and_test, parameters), total=total)


async def learn_and_test(parameters: AceParameters, session: Session) -> list[Method]:
    """Go through the epochs, then test; return what was tested."""
    source = session.source

    async def validate(playbook: Playbook, rows: Sequence[Row], purpose: str) -> Evaluation:
        return await session.validate(session.asking(playbook), rows, purpose=purpose)

    loop = Offline(
        learner=session.learner(source.train),
        evaluate=validate,
        batch_size=parameters.batch_size,
        epochs=parameters.epochs,
        eval_rows=parameters.eval_rows,
        patience=None if session.run.estimator else parameters.patience,  # an estimate is of the most
        room=session.tidying.room,
    )
    await session.follow(loop.events(source.start, source.train, source.validation))
    best, step = best_of(session)
    evaluation = await session.evaluate(
        session.asking(best), source.test, name="test", purpose="the best playbook"
    )
    note = f"{len(best)} bullets, after step {step}; its costs are those of learning and validating, too"
    methods = [Method(name=BEST, note=note, evaluation=evaluation, parts=(*LEARNING, VALIDATION, "test"))]
    return [*methods, *await Baselines(parameters, session).run()]
