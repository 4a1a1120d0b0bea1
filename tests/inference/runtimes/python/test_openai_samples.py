"""The sample models under OpenAI's API: what they say, and that their files are what the scripts make."""

from __future__ import annotations

import asyncio
import filecmp
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import openai
import pytest
import pytest_asyncio

from tests.hub import MODELS, Hub, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = MODELS / "markov-chat"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    for name in ("markov-chat", "letter-grams"):
        (models / name).symlink_to(MODELS / name)
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hub: Hub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def said(client: openai.AsyncOpenAI, about: str, seed: int | None, temperature: float = 1) -> str:
    """What the chain answers."""
    answer = await client.chat.completions.create(
        model="markov-chat",
        messages=[{"role": "user", "content": about}],
        seed=seed,
        temperature=temperature,
    )
    return answer.choices[0].message.content or ""


async def test_it_says_sentences_of_words_of_its_text(client: openai.AsyncOpenAI) -> None:
    words = set(re.findall(r"[\w'-]+|[^\w\s]", (CHAT / "text.txt").read_text().lower()))
    for seed in range(20):
        text = await said(client, "How do I make soup?", seed)
        assert set(re.findall(r"[\w'-]+|[^\w\s]", text.lower())) <= words
        assert len(re.findall(r"[.?!]( |$)", text)) == 2
        assert not re.search(r" [,.;:?!]|  ", text)
    assert (await said(client, "Tell me about BREAD", 1)).startswith("Bread")
    assert await said(client, "", 5)
    assert await said(client, "bread", 7) == await said(client, "bread", 7)
    assert len({await said(client, "xyzzy", seed) for seed in range(20)}) > 5
    assert len({await said(client, "xyzzy", seed, temperature=0) for seed in range(5)}) == 1


async def test_its_stream_is_the_same_text(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="markov-chat", messages=[{"role": "user", "content": "bread"}], seed=7, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert len(pieces) > 10
    assert "".join(pieces) == await said(client, "bread", 7)


async def test_its_chain_is_what_the_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "chain.json"
    command = [sys.executable, str(CHAT / "train.py"), str(made)]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    assert filecmp.cmp(made, CHAT / "1" / "chain.json", shallow=False)
    assert len(json.loads(made.read_text())) > 1000


async def test_texts_that_are_spelled_alike_are_near(client: openai.AsyncOpenAI) -> None:
    texts = ["a bowl of soup", "bowls of soup", "the knife is sharp", "!?"]
    found = await client.embeddings.create(model="letter-grams", input=texts)
    soup, soups, knife, nothing = (np.array(item.embedding) for item in found.data)
    assert soup.shape == (256,)
    assert [float(np.linalg.norm(v)) for v in (soup, soups, knife)] == pytest.approx([1, 1, 1], abs=1e-6)
    assert not nothing.any()
    assert soup @ soups > 0.5 > 0.2 > soup @ knife
