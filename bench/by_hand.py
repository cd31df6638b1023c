"""The bar: what a careful researcher writes in an afternoon.

python -m bench.by_hand URL FOLDER NUMBER
"""

import asyncio
import contextlib
import hashlib
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI

from bench.questions import questions

MODEL, PROMPTS_A_REQUEST, REQUESTS_IN_FLIGHT = "slots", 32, 4


def key(prompt: str) -> str:
    """Name what is sent."""
    return hashlib.sha256(json.dumps([MODEL, 1, 0.0, 0, prompt]).encode()).hexdigest()


def read_answers(file: Path) -> dict[str, str]:
    """Return what earlier runs have found."""
    answers: dict[str, str] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):  # a run that was killed leaves half a line
            answers.update([json.loads(line)])
    return answers


async def answer(url: str, prompts: list[str], file: Path) -> list[str]:
    """Ask for what is not there, and write each answer down as it comes."""
    answers = read_answers(file)
    missing = [prompt for prompt in prompts if key(prompt) not in answers]
    in_flight = asyncio.Semaphore(REQUESTS_IN_FLIGHT)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=8) as client:
        with file.open("a") as output:
            output.write("\n")

            async def ask(some: list[str]) -> None:
                async with in_flight:
                    reply = await client.completions.create(
                        model=MODEL, prompt=some, max_tokens=1, temperature=0.0, seed=0
                    )
                found = {key(some[choice.index]): choice.text for choice in reply.choices}
                answers.update(found)
                output.writelines(json.dumps(pair) + "\n" for pair in found.items())
                output.flush()

            n = PROMPTS_A_REQUEST
            await asyncio.gather(*(ask(missing[i : i + n]) for i in range(0, len(missing), n)))
    return [answers[key(prompt)] for prompt in prompts]


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    answers = asyncio.run(answer(sys.argv[1], questions(int(sys.argv[3])), folder / "answers.jsonl"))
    (folder / "result.json").write_text(json.dumps(answers))
