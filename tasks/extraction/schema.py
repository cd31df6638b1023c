"""The JSON Schema of answers: a bounded list of items, each with one of the labels."""

from tasks.extraction.spec import MAX_CHARACTERS, AttributeSpec, ExtractionSpec, LabelSpec

ENTITIES = "entities"
"""The one field of an answer."""

JsonSchema = dict[str, object]


def answer_schema(spec: ExtractionSpec, *, max_items: int) -> JsonSchema:
    """Return what an answer has to look like; labels and closed attributes are enumerations."""
    items: JsonSchema
    if any(label.attributes for label in spec.labels):
        items = {"anyOf": [_item([label]) for label in spec.labels]}
    else:
        items = _item(spec.labels)
    entities = {"type": "array", "items": items, "maxItems": max_items}
    return _object({ENTITIES: entities}, required=[ENTITIES])


def _item(labels: "tuple[LabelSpec, ...] | list[LabelSpec]") -> JsonSchema:
    fields: JsonSchema = {"label": {"enum": [one.name for one in labels]}, "text": _text()}
    attributes = labels[0].attributes if len(labels) == 1 else ()
    if attributes:
        # Required, since a grammar that leaves the choice open lets a small model skip them; empty says none.
        values: JsonSchema = {one.name: _value(one) for one in attributes}
        fields["attributes"] = _object(values, required=list(values))
    return _object(fields, required=list(fields))


def _value(attribute: AttributeSpec) -> JsonSchema:
    return {"enum": ["", *attribute.values]} if attribute.values else {**_text(), "minLength": 0}


def _text() -> JsonSchema:
    return {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}


def _object(properties: JsonSchema, *, required: list[str]) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
