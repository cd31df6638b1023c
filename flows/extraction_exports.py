"""Entities of a run in the formats of other tools."""

import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from flows.extraction_files import read_files
from flows.extraction_parameters import Export
from tasks.extraction.exports import write_brat, write_conll
from tasks.extraction.values import Document
from tasks.whole_files import replacing

CONLL, BRAT = "entities.conll", "brat"
FILES: Mapping[Export, str] = {"conll": CONLL, "brat": BRAT}


def write_exports(formats: Collection[Export], directory: Path) -> None:
    """Write the files that are wanted into a run's folder, and anew those that are there from before.

    Each is there whole or not at all.
    """
    formats = {*formats, *(name for name, file in FILES.items() if (directory / file).exists())}
    if not formats:
        return
    found = {one.id: one.entities for one in read_files(directory)}
    if "conll" in formats:
        with replacing(directory / CONLL) as partial:
            write_conll(partial, _documents(directory), found)
    if "brat" in formats:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".brat-") as folder:
            fresh = Path(folder) / BRAT
            write_brat(fresh, list(_documents(directory)), found)
            shutil.rmtree(directory / BRAT, ignore_errors=True)
            fresh.rename(directory / BRAT)


def _documents(directory: Path) -> Iterator[Document]:
    """Yield the documents that have a text."""
    for one in read_files(directory):
        if one.status != "unreadable":
            yield Document(id=one.id, text=one.text, source=one.source)
