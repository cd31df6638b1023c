"""What an extraction writes can be read back, document by document, and appears whole."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.extraction_files import DOCUMENTS, ENTITIES, Finished, open_files, read_files
from tasks.extraction.asking import FailedWindow
from tasks.extraction.values import Entity, Provenance

NAMES = st.text(min_size=1, max_size=5)
ENTITY = st.builds(
    Entity,
    label=NAMES,
    text=NAMES,
    status=st.sampled_from(["exact", "fuzzy", "ungrounded"]),
    start=st.none() | st.integers(0, 9),
    end=st.none() | st.integers(0, 9),
    votes=st.integers(1, 3),
    confidence=st.floats(0, 1),
    attributes=st.dictionaries(NAMES, NAMES, max_size=2),
    normalized=st.none() | NAMES,
    conflict=st.booleans(),
    provenance=st.lists(
        st.builds(
            Provenance, pass_number=st.integers(0, 2), chunk=st.integers(0, 9), index=st.integers(0, 9)
        ),
        max_size=2,
    ).map(tuple),
)
FINISHED = st.builds(
    Finished,
    id=NAMES,
    source=st.none() | NAMES,
    status=st.sampled_from(["complete", "partial", "failed", "unreadable"]),
    reason=NAMES,
    coverage=st.floats(0, 1),
    text=st.text(max_size=20),
    entities=st.lists(ENTITY, max_size=3).map(tuple),
    failed=st.lists(
        st.builds(
            FailedWindow,
            start=st.integers(0, 9),
            end=st.integers(0, 9),
            pass_number=st.integers(0, 2),
            reason=NAMES,
        ),
        max_size=2,
    ).map(tuple),
    chunks=st.integers(0, 9),
    asked=st.integers(0, 9),
    invalid_items=st.integers(0, 9),
)


@given(st.lists(FINISHED, max_size=5, unique_by=lambda one: one.id))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, written: list[Finished]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with open_files(folder) as write:
        for one in written:
            write(one)
    assert list(read_files(folder)) == written


def test_a_run_that_ends_early_leaves_what_was_there(tmp_path: Path) -> None:
    one = Finished(id="a", source=None, status="complete", reason="", coverage=1.0, text="Ada")
    with open_files(tmp_path) as write:
        write(one)

    def fail() -> None:
        with open_files(tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(read_files(tmp_path)) == [one]
    assert {path.name for path in tmp_path.iterdir()} == {DOCUMENTS, ENTITIES}
