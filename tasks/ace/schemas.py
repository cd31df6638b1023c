"""JSON Schemas of what the roles answer: ids are enumerations of the bullets that there are.

A grammar keeps a model from inventing an id, a section or an operation, and bounds every text, so that a
small model that rambles still ends.
"""

import json
from collections.abc import Collection, Sequence

from tasks.ace.answers import MAX_OPERATIONS
from tasks.ace.votes import TAGS

JsonSchema = dict[str, object]

MAX_REASONING, MAX_LESSON, MAX_ANSWER = 1_500, 600, 400
"""Characters."""
MAX_CITED = 16
"""Bullets that one answer cites, and that one Reflector judges."""


def generator_schema(live: Sequence[str]) -> str:
    """Return the schema of a Generator's answer."""
    cited: JsonSchema = {"bullet_ids": _ids(live)} if live else {}
    return _json({"reasoning": _text(MAX_REASONING), **cited, "final_answer": _text(MAX_ANSWER)})


def reflector_schema(shown: Sequence[str]) -> str:
    """Return the schema of a Reflector's answer; it votes on the bullets that it is shown."""
    vote = _object({"id": {"enum": list(shown)}, "tag": {"enum": list(TAGS)}})
    votes: JsonSchema = {"type": "array", "items": vote, "maxItems": len(shown)}
    return _json(
        {
            "reasoning": _text(MAX_REASONING),
            "error_identification": _text(MAX_LESSON),
            "root_cause_analysis": _text(MAX_LESSON),
            "correct_approach": _text(MAX_LESSON),
            "key_insight": _text(MAX_LESSON),
            **({"bullet_tags": votes} if shown else {}),
        }
    )


def curator_schema(live: Sequence[str], sections: Collection[str], *, max_operations: int) -> str:
    """Return the schema of a Curator's answer."""
    content = _text(MAX_LESSON, least=1)
    kinds: list[JsonSchema] = [_operation("ADD", section={"enum": list(sections)}, content=content)]
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
    return _json({"reasoning": _text(MAX_REASONING), "operations": operations})


def check_schema() -> str:
    """Return the schema of a model's check of its own answer."""
    return _json({"reasoning": _text(MAX_REASONING), "is_right": {"type": "boolean"}})


def sheet_schema(max_characters: int) -> str:
    """Return the schema of a cheat-sheet that was written anew."""
    return _json({"cheat_sheet": _text(max_characters)})


def _operation(kind: str, **fields: JsonSchema) -> JsonSchema:
    return _object({"type": {"enum": [kind]}, **fields})


def _ids(live: Sequence[str]) -> JsonSchema:
    return {"type": "array", "items": {"enum": list(live)}, "maxItems": min(MAX_CITED, len(live))}


def _text(most: int, *, least: int = 0) -> JsonSchema:
    return {"type": "string", "minLength": least, "maxLength": most}


def _object(properties: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json(properties: JsonSchema) -> str:
    return json.dumps(_object(properties), ensure_ascii=False)
