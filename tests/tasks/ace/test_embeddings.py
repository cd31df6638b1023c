import logging
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.registry import NotInstalledError
from tasks.ace.embeddings import LocalEmbedder, model

ALONE = """
import logging, socket

def refuse(*args, **named):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from tasks.ace.embeddings import LocalEmbedder
print(LocalEmbedder().embed(["a lesson"]).shape, logging.getLogger().handlers, logging.getLogger().level)
"""


def test_rows_have_length_one_and_a_text_without_a_token_is_zero() -> None:
    vectors = LocalEmbedder().embed(["a lesson", "", "another one, longer than the first", "\ud800"])
    assert vectors.shape == (4, 256)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1, 1])
    assert LocalEmbedder().embed([]).shape == (0, 256)


def test_a_vector_does_not_depend_on_the_texts_beside_it() -> None:
    texts = [f"lesson number {number} {'and so on ' * (number % 7)}" for number in range(40)]
    together = LocalEmbedder().embed(texts)
    alone = np.concatenate([LocalEmbedder().embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-6


def test_nothing_is_fetched_and_the_log_stays_as_it_was(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={"HOME": str(tmp_path), "PYTHONPATH": "."},
    )
    assert ran.stdout == "(1, 256) [] 30\n", ran.stderr
    assert not list(tmp_path.iterdir())


def test_no_socket_is_needed_to_embed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    model.cache_clear()
    assert LocalEmbedder().embed(["a lesson"]).any()


def test_without_the_package_the_error_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    model.cache_clear()
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(NotInstalledError, match=r"pip install -r requirements/embeddings\.txt"):
        LocalEmbedder()
    assert logging.getLogger().level == logging.WARNING
