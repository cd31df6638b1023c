"""Embeddings from a small model on this machine: WordLlama's, whose weights come with its package.

wordllama (https://github.com/dleemiller/WordLlama) averages 256-dimensional vectors of tokens. It is an
optional package, needs no accelerator, and nothing is ever fetched.
"""

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from backends.registry import NotInstalledError
from tasks.ace.similarity import Floats

BATCH = 16
"""Texts of about the same length at once: what they take in memory goes by the longest one."""


class LocalEmbedder:
    """Makes vectors with WordLlama."""

    def __init__(self) -> None:
        """Take the model; to load it is a second of work, once in a process.

        Raises:
            NotInstalledError: The package is not there.
        """
        self._model = model()

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return an array (n, 256) whose rows have length 1; of a text without a token, 0."""
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = np.zeros((len(texts), self._model.embedding.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), BATCH):
            places = by_length[start : start + BATCH]
            vectors[places] = self._model.embed([_plain(texts[place]) for place in places], batch_size=BATCH)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _plain(text: str) -> str:
    """Return a text that a tokenizer takes: without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


@cache
def model() -> Any:  # noqa: ANN401 - of a package that may not be there
    """Load WordLlama, once in a process.

    Raises:
        NotInstalledError: The package is not there.
    """
    wordllama = _package()
    # It looks for the tokenizer that it brings along in a folder of another name, and would fetch it; in
    # what it takes for its folder of downloads the name is right.
    own = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=own, disable_download=True)


def _package() -> Any:  # noqa: ANN401
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        return cast("Any", importlib.import_module("wordllama"))
    except ImportError as error:
        raise NotInstalledError(
            f"embeddings need the package {error.name!r}, which is not installed; type `.venv/bin/pip "
            "install -r requirements/embeddings.txt`"
        ) from error
    finally:
        # It sets up the log of the whole program when it is imported.
        root.setLevel(level)
        for one in set(root.handlers) - set(handlers):
            root.removeHandler(one)
