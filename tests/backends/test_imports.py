"""A run whose answers are all stored starts fast: it imports no client and no tokenizer, and no Prefect."""

import subprocess
import sys
from pathlib import Path

ENGINE = "backends.vllm_server, backends.openai_compatible, cache.disk_store, cache.lookup, tasks.generate"
SLOW = ("openai", "httpx", "httpx2", "huggingface_hub", "tokenizers", "prefect")


def test_the_engine_imports_only_what_every_run_needs() -> None:
    program = f"import sys, {ENGINE}; print(*(name for name in {SLOW!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []


def test_a_backend_that_asks_nothing_imports_no_client() -> None:
    program = (
        "import asyncio, sys; from backends.vllm_server import VLLMServer\n"
        "async def main():\n"
        "    async with VLLMServer('http://127.0.0.1:9'): pass\n"
        "asyncio.run(main()); print('openai' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False"
