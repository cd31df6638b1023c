"""Run by test_live_transformers.py in the Python of a vLLM environment, which has torch and transformers.

local_model.py MODEL FOUND CLIENT
"""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(sys.argv[3])

from backends.messages import Request, Response, SamplingParams
from backends.transformers_local import TransformersLocal
from tests.live.engine_requests import claims, structured, texts, written


async def responses_of(backend: TransformersLocal, requests: list[Request]) -> list[Response]:
    found: dict[int, Response] = {}
    async for arrival in backend.answer(requests):
        for index, outcome in arrival.outcomes:
            assert isinstance(outcome, Response), outcome
            found[index] = outcome
    return [found[index] for index in range(len(requests))]


async def main(model: str) -> dict[str, object]:
    backend = TransformersLocal()
    labels = await backend.find_labels(model, ["True", "False"])
    requests = [*texts(model), *claims(model, labels, 4)]
    together = await responses_of(backend, requests)
    alone = [(await responses_of(backend, [request]))[0] for request in requests]
    story = SamplingParams(max_tokens=8, temperature=1.0, seed=3)
    drawn = Request(model=model, prompt="Once upon a time", sampling=story, logprobs=0)
    draws = [drawn, drawn, replace(drawn, sample_index=1)]
    (refused,) = [
        outcome async for arrival in backend.answer([structured(model)]) for _, outcome in arrival.outcomes
    ]
    return {
        "labels": [[label.text, list(label.token_ids)] for label in labels],
        "together": [written(one) for one in together],
        "alone": [written(one) for one in alone],
        "drawn": [one.text for one in await responses_of(backend, draws)],
        "refused": str(refused),
        "canary": [dict(one) for one in await backend.canary(model) or ()],
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(main(sys.argv[1]))))
