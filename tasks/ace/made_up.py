"""Answers for an estimate: never right, never the same, each with a new lesson, so that it costs most."""

import hashlib
import json

from backends.messages import Request, Response, prompt_text

CHARACTERS_OF_A_LESSON = 200


def make_up_answer(request: Request) -> Response:
    """Answer any role of ACE with what depends on the prompt alone."""
    name = hashlib.sha256(prompt_text(request).encode()).hexdigest()
    lesson = f"made up {name} ".ljust(CHARACTERS_OF_A_LESSON, "x")
    fields = {
        "final_answer": name,
        "key_insight": lesson,
        "operations": [{"type": "ADD", "section": "OTHERS", "content": lesson}],
        "is_right": False,
        "cheat_sheet": lesson,
    }
    return Response(text=json.dumps(fields), finish_reason="stop")
