"""JSON Schemas of what the roles answer: ids are enumerations of the bullets that there are.

A grammar keeps a model from inventing an id, a section or an operation, and bounds every text, so that a
small model that rambles still ends.
"""

import json
from collections.abc import Collection, Sequence

from tasks.ace.answers import MAX_OPERATIONS
from tasks.ace.playbook import OTHERS
from tasks.ace.votes import TAGS

JsonSchema = dict[str, object]

MAX_REASONING, MAX_LESSON, MAX_ANSWER = 4_000, 600, 400
"""Characters."""
LEAST_TEXT = 40
"""Characters that any text may have, however short answers are to be."""
SHEET_SHARE = 2.5
"""Characters of a cheat-sheet that a token of its writer's answer may come to."""
MAX_CITED = 16
"""Bullets that one answer cites, and that one Reflector judges."""


def generator_schema(live: Sequence[str], max_tokens: int) -> str:
    """Return the schema of a Generator's answer.

    Args:
        live: Ids of the bullets that there are.
        max_tokens: Of the answer; texts are bounded so that what comes last is reached.
    """
    cited: JsonSchema = {"bullet_ids": _ids(live)} if live else {}
    return _json(
        {
            "reasoning": _text(MAX_REASONING, max_tokens, share=2.0),
            **cited,
            "final_answer": _text(MAX_ANSWER, max_tokens, share=0.5),
        }
    )


def reflector_schema(shown: Sequence[str], max_tokens: int) -> str:
    """Return the schema of a Reflector's answer; it votes on bullets that it, or a neighbour, is shown."""
    vote = _object({"id": {"enum": list(shown)}, "tag": {"enum": list(TAGS)}})
    votes: JsonSchema = {"type": "array", "items": vote, "maxItems": min(MAX_CITED, len(shown))}
    lesson = _text(MAX_LESSON, max_tokens, share=0.5)
    return _json(
        {
            "reasoning": _text(MAX_REASONING, max_tokens, share=0.8),
            "error_identification": lesson,
            "root_cause_analysis": lesson,
            "correct_approach": lesson,
            "key_insight": lesson,
            **({"bullet_tags": votes} if shown else {}),
        }
    )


def curator_schema(
    live: Sequence[str], sections: Collection[str], max_tokens: int, *, max_operations: int
) -> str:
    """Return the schema of a Curator's answer. One that is cut off has complete operations before the cut."""
    content = _text(MAX_LESSON, max_tokens, share=1.0, least=1)
    kinds: list[JsonSchema] = [
        _operation("ADD", section={"enum": list(sections) or [OTHERS]}, content=content)
    ]
    if live:
        one: JsonSchema = {"enum": list(live)}
        kinds += [_operation("UPDATE", id=one, content=content), _operation("REMOVE", id=one)]
    if len(live) > 1:
        several = {**_ids(live), "minItems": 2}
        kinds.append(_operation("MERGE", ids=several, content=content))
    operations: JsonSchema = {
        "type": "array",
        "items": {"anyOf": kinds},
        "maxItems": min(max_operations, MAX_OPERATIONS),
    }
    reasoning = _text(MAX_REASONING, max_tokens, share=0.8)
    return _json({"reasoning": reasoning, "operations": operations})


def check_schema(max_tokens: int) -> str:
    """Return the schema of a model's check of its own answer."""
    reasoning = _text(MAX_REASONING, max_tokens, share=2.0)
    return _json({"reasoning": reasoning, "is_right": {"type": "boolean"}})


def sheet_schema(max_characters: int, max_tokens: int) -> str:
    """Return the schema of a cheat-sheet that was written anew."""
    return _json({"cheat_sheet": _text(max_characters, max_tokens, share=SHEET_SHARE)})


def sheet_length(max_characters: int, max_tokens: int) -> int:
    """Return how many characters a cheat-sheet may have that is written in so many tokens."""
    return _length(max_characters, max_tokens, SHEET_SHARE)


def _operation(kind: str, **fields: JsonSchema) -> JsonSchema:
    return _object({"type": {"enum": [kind]}, **fields})


def _ids(live: Sequence[str]) -> JsonSchema:
    return {"type": "array", "items": {"enum": list(live)}, "maxItems": min(MAX_CITED, len(live))}


def _text(most: int, max_tokens: int, *, share: float, least: int = 0) -> JsonSchema:
    """Bound a text by what it may take of an answer: so many characters a token of the whole answer.

    A token has some four characters, so shares that add up to 3 leave room for what is around the texts.
    """
    return {"type": "string", "minLength": least, "maxLength": _length(most, max_tokens, share)}


def _length(most: int, max_tokens: int, share: float) -> int:
    return min(most, max(LEAST_TEXT, int(share * max_tokens)))


def _object(properties: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json(properties: JsonSchema) -> str:
    return json.dumps(_object(properties), ensure_ascii=False)
