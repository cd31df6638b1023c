"""The tasks that ship with the project: the demo, and the two published ones on figures of companies.

Rows of Formula and FiNER are {context, target}, as published. Formula has two forms: the reference drops the
formula and its explanation, which each row holds, and asks the inner question alone; what is gained there is
gained over a model that was denied the formula.
"""

from collections.abc import Callable, Mapping

from tasks.ace.checkers import Finer, Formula
from tasks.ace.demo import DEMO
from tasks.ace.rows import RowError, field_text, filled_text
from tasks.ace.values import AceTask, Checker, Question, Row

NUMBER_INSTRUCTIONS = "Answer with a bare number with two decimals: no unit, no sign of currency or percent."
TAGS_INSTRUCTIONS = (
    "Answer with as many tags as there are questions, in their order, with commas between them."
)

LABEL = "target"

_QUESTION, _ANSWER = "Question:", "Answer:"
_QUOTES = ('"', "\u201c", "\u201d")
_QUESTIONS = "Answer the following"


def inner_question(context: str) -> str:
    """Return what a row of Formula asks, without the formula: what stands between "Question:" and "Answer:".

    Quotes around it are left out where it has any, straight or curly, and so is the full stop behind them.

    Raises:
        ValueError: Nothing is asked.
    """
    asked = context.partition(_QUESTION)[2].strip().removesuffix(_ANSWER).rstrip().removesuffix(".").strip()
    if asked.startswith(_QUOTES):
        asked = asked[1:].removesuffix(asked[-1]) if asked.endswith(_QUOTES) else asked[1:]
    if not asked.strip():
        raise ValueError(f"nothing is asked behind {_QUESTION!r}")
    return asked.strip()


def _formula(row: Mapping[str, object], row_id: str) -> Row:
    return _row(row, row_id, text=field_text(row, "context", row_id))


def _formula_dropped(row: Mapping[str, object], row_id: str) -> Row:
    try:
        text = inner_question(field_text(row, "context", row_id))
    except RowError:
        raise
    except ValueError as error:
        raise RowError(
            f"row {row_id}: {error} in its 'context'; give a row of Formula as published"
        ) from error
    return _row(row, row_id, text=text)


def _finer(row: Mapping[str, object], row_id: str) -> Row:
    """Keep the list of tags apart from the questions; it is the same in all rows of a file."""
    tags, mark, questions = field_text(row, "context", row_id).partition(_QUESTIONS)
    if not tags.strip() or not mark:
        raise RowError(
            f"row {row_id} has no list of tags before {_QUESTIONS!r} in its 'context'; give a row of FiNER as"
            " published"
        )
    return _row(row, row_id, text=mark + questions, context=tags.strip())


def _row(row: Mapping[str, object], row_id: str, *, text: str, context: str = "") -> Row:
    question = Question(id=row_id, text=text, context=context)
    return Row(question=question, target=filled_text(row, LABEL))


def _task(
    name: str, read: Callable[[Mapping[str, object], str], Row], checker: Checker, instructions: str
) -> AceTask:
    return AceTask(name=name, read=read, checker=checker, instructions=instructions, label_field=LABEL)


TESTBEDS: Mapping[str, AceTask] = {
    one.name: one
    for one in (
        DEMO,
        _task("formula", _formula, Formula(), NUMBER_INSTRUCTIONS),
        _task("formula-dropped", _formula_dropped, Formula(), NUMBER_INSTRUCTIONS),
        _task("finer", _finer, Finer(), TAGS_INSTRUCTIONS),
    )
}
"""{name: task}."""
