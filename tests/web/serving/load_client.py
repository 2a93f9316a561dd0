"""Load from a process of its own: ``python load_client.py URL EXPECTED REQUESTS CONCURRENCY [--until-closed]``.

``EXPECTED`` holds ``[{"model", "texts", "probabilities"}, ...]``. Every answer is compared with what it must be,
text by text; what was counted is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

TOLERANCE = 2e-4


def is_right(answer: dict[str, Any], case: dict[str, Any]) -> bool:
    if answer["model"] != case["model"] or len(answer["predictions"]) != len(case["texts"]):
        return False
    return all(
        abs(found - expected) < TOLERANCE
        for prediction, shares in zip(answer["predictions"], case["probabilities"], strict=True)
        for found, expected in zip(prediction["probabilities"].values(), shares, strict=True)
    )


async def ask(client: httpx.AsyncClient, case: dict[str, Any]) -> str:
    try:
        answer = await client.post("/v1/predict", json={"model": case["model"], "texts": case["texts"]})
    except httpx.ConnectError:
        return "not connected"
    except httpx.TransportError as error:
        return f"broken {type(error).__name__}"
    if answer.status_code == 503:
        return "refused" if int(answer.headers["retry-after"]) >= 1 else "refused without a time"
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    return "right" if is_right(answer.json(), case) else "wrong"


async def drive(
    url: str, cases: list[dict[str, Any]], requests: int, concurrency: int, until: bool
) -> Counter[str]:
    counts: Counter[str] = Counter()
    generator = random.Random(0)
    order = iter([generator.randrange(len(cases)) for _ in range(requests)])
    # One connection a request when the server will close, so that none is lost in one that waits unused.
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=0 if until else concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:

        async def work() -> None:
            for i in order:
                counts[await ask(client, cases[i])] += 1
                if until and counts["not connected"]:
                    return

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return counts


def main() -> None:
    url, expected, requests, concurrency, *rest = sys.argv[1:]
    cases = json.loads(Path(expected).read_text())
    counts = asyncio.run(drive(url, cases, int(requests), int(concurrency), "--until-closed" in rest))
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main()
