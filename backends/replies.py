"""Reads what a server replies: JSON, and the parts of it that are known. What cannot be read is one error."""

import json
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from backends.errors import ResponseFormatError

MOST_TOKENS = 10**12
"""No answer has more: what says so has miscounted, and sums of it would fit no file."""


class Part(BaseModel):
    """Part of a reply: what is read must be there and of its type; servers add fields of their own."""

    # An error that shows what was sent could show a key that was sent back.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


def _writable(text: str) -> str:
    # JSON can hold half a surrogate pair ("\\ud800"), which no file and no key can.
    if not text.isascii():
        text.encode()  # raises a UnicodeEncodeError, which is a ValueError
    return text


Text = Annotated[str, AfterValidator(_writable)]
TokenCount = Annotated[int, Field(ge=0, le=MOST_TOKENS)]

P = TypeVar("P", bound=Part)


def read_json(content: bytes, address: str) -> object:
    """Read the JSON of a reply.

    Args:
        content: As it came.
        address: Where from, as it may be shown.

    Raises:
        ResponseFormatError: It is none, or none that Python reads: nested too deeply, or with a number of
            thousands of digits.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ResponseFormatError(f"{address} answered with something that is not JSON") from error


def read_part(kind: type[P], payload: object) -> P:
    """Read what is known of a reply.

    Raises:
        ResponseFormatError: A field is missing or holds something else; the message names it.
    """
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole reply"
        raise ResponseFormatError(f"the reply cannot be read: {place}: {first['msg']}") from error
