"""What the chaos runs ask, and how the parts name it."""

from collections.abc import Sequence
from dataclasses import asdict

from backends.messages import Label, Request
from tests.fake_vllm import encode, render_chat, spellings
from tests.helpers import chat, completion, scoring

LABELS = tuple(
    Label(text=text, token_ids=tuple(sorted(encode(spelling)[0] for spelling in spellings(text))))
    for text in ("True", "False")
)


def questions(count: int) -> list[Request]:
    """Half completions, a quarter label scores, a quarter chats; all different."""
    return [_question(number) for number in range(count)]


def numbers_of(requests: Sequence[Request]) -> dict[str, int]:
    """Return {prompt as the server sees it: number of the question}."""
    return {_as_sent(request): number for number, request in enumerate(requests)}


def _question(number: int) -> Request:
    text = f"chaos question {number}"
    match number % 4:
        case 0:
            return chat(text)
        case 1:
            return scoring(f"{text} is", LABELS)
        case _:
            return completion(text)


def _as_sent(request: Request) -> str:
    if request.prompt is not None:
        return request.prompt
    return render_chat([asdict(message) for message in request.messages])
