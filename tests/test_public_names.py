"""Every public name is documented, every error can travel, and no check is switched off without a name."""

import ast
import importlib
import io
import pickle
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ["backends", "cache", "tasks", "flows"]
FILES = sorted(path for folder in SOURCE for path in (ROOT / folder).rglob("*.py"))
EVERYWHERE = [*FILES, *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public_definitions(node: ast.Module | ast.ClassDef) -> Iterator[Documented]:
    for child in node.body:
        if isinstance(child, Documented) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


def comments(path: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_public_function_and_class_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert silent == []
    assert ast.get_docstring(tree) or not tree.body


def test_a_check_is_switched_off_by_its_code_only() -> None:
    bare = [
        f"{name_of(path)}: {comment}"
        for path in EVERYWHERE
        for comment in comments(path)
        if re.search(r"noqa(?!: [A-Z]+[0-9]+)|type: ignore|pyright: ignore(?!\[\w+)", comment)
    ]
    assert bare == []


@pytest.mark.parametrize("module", ["backends.errors", "cache.errors", "backends.serving.errors"])
def test_every_error_pickles(module: str) -> None:
    loaded = importlib.import_module(module)
    kinds = [kind for kind in vars(loaded).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert kinds
    for kind in kinds:
        twin = pickle.loads(pickle.dumps(kind("what happened")))  # noqa: S301 - our own bytes
        assert (type(twin), str(twin)) == (kind, "what happened")
