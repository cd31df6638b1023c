"""How a question is put to the Generator, the same for learning and for every evaluation.

So an evaluation with a playbook that was learnt with asks what was asked before; the store answers it.
"""

from functools import cache, partial

from tasks.ace.answers import Generated, Reflected, read_generated
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import generator_messages
from tasks.ace.rendering import RENDERINGS, Rendering, in_tags
from tasks.ace.roles import Asked
from tasks.ace.schemas import generator_schema
from tasks.ace.values import AceTask, Question


class Asking:
    """Puts questions with one playbook, or with another text in its place.

    Args:
        task: What is asked.
        playbook: What answers may cite.
        rendering: How it is shown.
        structured: Have the server follow a schema.
        instead: Shown in place of the playbook: examples, or a cheat-sheet.
    """

    def __init__(
        self,
        task: AceTask,
        playbook: Playbook,
        rendering: Rendering = "append-only",
        *,
        structured: bool = True,
        instead: str | None = None,
    ) -> None:
        live = [bullet.id for bullet in playbook.by_age]
        self._task = task
        self._live = frozenset(live)
        self._shown = in_tags(RENDERINGS[rendering](playbook)) if instead is None else instead
        self._schema = cache(partial(generator_schema, live)) if structured else None

    def asked(self, question: Question, review: Reflected | None = None) -> Asked:
        """Put a question, once more where an earlier answer was reviewed."""
        messages = generator_messages(self._task, self._shown, question, review=review)
        return Asked(messages=messages, schema=self._schema)

    def read(self, _: int, text: str) -> Generated:
        """Read an answer."""
        return read_generated(text, self._live)
