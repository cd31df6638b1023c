"""A task of somebody's own code, with a mistake in it."""

from dataclasses import replace

from tasks.ace.spec import TaskSpec
from tasks.ace.values import Feedback, Question


def look(question: Question, answer: str) -> Feedback:
    """Look at a field that is not there."""
    return Feedback(is_ok=question.fields["country"] == answer)


task = replace(TaskSpec(name="own").task(), environment=look)
