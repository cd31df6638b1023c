"""Small documents whose entities are known, for the tests of the flow `extraction`."""

import json
import random
from pathlib import Path

from tests.flows.running import JsonObject

SPEC: JsonObject = {
    "name": "people",
    "description": "Find people and places.",
    "labels": [{"name": "person"}, {"name": "place"}],
    "examples": [
        {"text": "Zoe Quill left.", "entities": [{"label": "person", "text": "Zoe Quill"}]},
    ],
}
PEOPLE = ("Ada Lovelace", "Alan Turing", "Grace Hopper", "Emmy Noether", "Kurt Goedel")
PLACES = ("London", "Princeton", "Goettingen", "Arlington")
SMALL: JsonObject = {"spec": SPEC, "chunk_characters": 400, "overlap_characters": 80}


def write_documents(folder: Path, count: int, *, sentences: int = 30) -> Path:
    """Write text files, and their gold spans beside the folder."""
    documents = folder / "documents"
    documents.mkdir()
    rows: list[JsonObject] = []
    for number in range(count):
        dice = random.Random(number)
        text, entities = "", list[JsonObject]()
        for sentence in range(sentences):
            for label, names in (("person", PEOPLE), ("place", PLACES)):
                text += f"In part {number}.{sentence} there was " if label == "person" else " who lived in "
                name = dice.choice(names)
                entities.append(
                    {"label": label, "start": len(text), "end": len(text) + len(name), "text": name}
                )
                text += name
            text += ".\n"
        (documents / f"d{number}.txt").write_text(text)
        rows.append({"id": f"d{number}.txt", "text": text, "entities": entities})
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return documents
