"""Answers for an estimate: none is right before the last round or to be sure of, each has a new lesson."""

import hashlib
import json

from backends.messages import Request, Response, prompt_text
from tasks.ace.attempts import QuestionRun, is_put_right

MARK = "made up for an estimate"

CHARACTERS_OF_A_LESSON = 200


def make_up_answer(request: Request) -> Response:
    """Answer any role of ACE with what depends on the prompt alone; a Curator adds a bullet a review."""
    prompt = prompt_text(request)
    name = f"{MARK} {hashlib.sha256(prompt.encode()).hexdigest()}"
    lessons = [_lesson(f"{name} {number}") for number in range(max(1, prompt.count("<reflection>")))]
    fields = {
        "final_answer": name,
        "key_insight": lessons[0],
        "operations": [{"type": "ADD", "section": "OTHERS", "content": lesson} for lesson in lessons],
        "is_right": False,
        "cheat_sheet": lessons[0],
    }
    return Response(text=json.dumps(fields), finish_reason="stop")


def is_made_up(text: str) -> bool:
    """Say whether an answer is one of these."""
    return MARK in text


def may_be_put_right(run: QuestionRun) -> bool:
    """Say whether a question was put right, or would be in the worst case, which is in its last round."""
    return is_put_right(run) or (bool(run.attempts) and is_made_up(run.last.generated.final_answer or ""))


def _lesson(text: str) -> str:
    return f"{text} ".ljust(CHARACTERS_OF_A_LESSON, "x")
