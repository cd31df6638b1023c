"""Nothing here reads or writes a format that can run code when it is read."""

import ast
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cache.disk_store import DiskStore
from cache.portable import export_store
from cache.reading import StoreReader
from tests.helpers import some_key

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path for folder in ("backends", "cache", "tasks", "flows") for path in (ROOT / folder).rglob("*.py")
)
LIVE_FORMATS = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "pickletools",
}
RUNS_CODE = {"eval", "exec", "__import__"}


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def called(tree: ast.AST) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_live_formats_or_runs_text(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported(tree) & LIVE_FORMATS
    assert not called(tree) & RUNS_CODE


def test_the_scan_finds_what_it_looks_for() -> None:
    tree = ast.parse("import pickle\nfrom dill import loads\nimport os.path\neval('1')")
    assert imported(tree) & LIVE_FORMATS == {"pickle", "dill"}
    assert called(tree) & RUNS_CODE == {"eval"}


def test_a_store_holds_bytes_under_text_and_nothing_else(tmp_path: Path) -> None:
    """diskcache marks pickles with mode 4 and pickled keys with raw = 0."""
    store = DiskStore(tmp_path / "store")
    store.put({some_key(number): bytes(number * 5000) for number in range(10)})
    store.close()
    with closing(sqlite3.connect(tmp_path / "store" / "cache.db")) as database:
        kinds = database.execute("SELECT DISTINCT raw, mode, typeof(key), typeof(value), filename FROM Cache")
        assert kinds.fetchall() == [(1, 1, "text", "blob", None)]
    with StoreReader(tmp_path / "store") as source:
        export_store(source, tmp_path / "file")
    beginnings = {path.read_bytes()[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert not {beginning for beginning in beginnings if beginning[:1] == b"\x80"}  # how every pickle begins
