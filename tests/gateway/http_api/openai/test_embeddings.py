"""Embeddings with OpenAI's own client and with LangChain's: base64 and floats, types of numbers, what is refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import openai
import pytest
import pytest_asyncio
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from tests.gateway.http_api.openai.scripted import API
from tests.hub import Hub, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The vector of a text: its length, and the codes of its first characters.
LETTERS = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.dtype = np.dtype(parameters["dtype"])
        self.counts = "counts" in parameters

    def predict(self, inputs):
        texts = [text.decode() for text in inputs["input"].ravel()]
        size = int(inputs["dimensions"].ravel()[0]) if "dimensions" in inputs else 3
        rows = [[len(text) / 3] + [ord(c) for c in text[:size - 1].ljust(size - 1)] for text in texts]
        if texts[0] == "short":
            rows = rows[:-1]
        if texts[-1].startswith("number "):
            rows[-1][1] = float(texts[-1].split()[1])
        found = {"embedding": np.array(rows, self.dtype).reshape(len(rows), size)}
        if self.counts:
            tokens = -1 if texts[0] == "less" else 7
            found["prompt_tokens"] = np.full((len(texts), 1)[:inputs["input"].ndim], tokens)
        return found
"""


def vector(text: str, size: int = 3) -> list[float]:
    """What the model gives for a text."""
    return [len(text) / 3, *[float(ord(sign)) for sign in text[: size - 1].ljust(size - 1)]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")

    def add(name: str, dtype: str, numpy: str, dims: str, batch: int = 0, more: str = "") -> None:
        config = f"""backend: "python" max_batch_size: {batch} {API % "openai-embedding"} {more}
            input {{ name: "input" data_type: TYPE_STRING dims: [{1 if batch else -1}] }}
            output {{ name: "embedding" data_type: {dtype} dims: [{dims}] }}
            parameters {{ key: "dtype" value {{ string_value: "{numpy}" }} }}"""
        write_model(models, name, config, {"1/model.py": LETTERS})

    counts = 'parameters { key: "counts" value { string_value: "1" } }'
    tokens = 'output { name: "prompt_tokens" data_type: TYPE_INT32 dims: [%s] }' + counts
    sized = 'input { name: "dimensions" data_type: TYPE_INT64 dims: [1] optional: true }'
    add("batches", "TYPE_FP32", "float32", "3", 32)
    add("all", "TYPE_FP64", "float64", "-1, -1", more=sized + tokens % "-1")
    add("sized", "TYPE_FP16", "float16", "-1", 8, sized + tokens % "1")
    add("three", "TYPE_FP32", "float32", "3, 1", 8)
    async with running_hub(models, hold_s=5.0) as hub:
        yield hub


@pytest.mark.parametrize(("model", "least"), [("batches", 2e-7), ("all", 2e-7), ("sized", 1e-3)])
async def test_vectors_are_those_of_the_texts(client: openai.AsyncOpenAI, model: str, least: float) -> None:
    texts = ["hello", "", "żółw"]
    plain = await client.embeddings.create(model=model, input=texts)  # base64
    floats = await client.embeddings.create(model=model, input=texts, encoding_format="float")
    for found in (plain, floats):
        assert [item.index for item in found.data] == [0, 1, 2]
        assert {item.object for item in found.data} == {"embedding"}
        assert (found.object, found.model) == ("list", model)
        for item, text in zip(found.data, texts, strict=True):
            assert item.embedding == pytest.approx(vector(text), rel=least)
    assert [item.embedding for item in plain.data] == [item.embedding for item in floats.data]
    (one,) = (await client.embeddings.create(model=model, input="hello")).data
    assert one.embedding == plain.data[0].embedding


async def test_more_texts_than_a_batch_has_room_for(client: openai.AsyncOpenAI) -> None:
    texts = [f"{'ab' * (number % 7)}" for number in range(200)]
    several: list[tuple[str, dict[str, Any]]] = [("batches", {}), ("sized", {"dimensions": 5})]
    for model, sized in several:
        found = await client.embeddings.create(model=model, input=texts, encoding_format="float", **sized)
        assert [item.index for item in found.data] == [*range(200)]
        for item, text in zip(found.data, texts, strict=True):
            assert item.embedding == pytest.approx(vector(text, *sized.values()), rel=1e-3)


async def test_base64_is_fp32_as_the_model_gave_it(hub: Hub) -> None:
    body = {"model": "batches", "input": ["hello", "a"], "encoding_format": "base64"}
    _, found, _ = await hub.post("/v1/embeddings", body)
    raw = [base64.b64decode(item["embedding"]) for item in found["data"]]
    assert raw == [np.array(vector(text), "<f4").tobytes() for text in ("hello", "a")]
    _, found, _ = await hub.post("/v1/embeddings", {"model": "batches", "input": "hello"})
    assert found["data"][0]["embedding"] == np.array(vector("hello"), np.float32).astype(float).tolist()


async def test_usage(client: openai.AsyncOpenAI) -> None:
    texts = ["Good day.", "żółw"]
    for model, tokens in (("batches", 3 + 1), ("all", 14), ("sized", 14)):
        usage = (await client.embeddings.create(model=model, input=texts)).usage
        assert (usage.prompt_tokens, usage.total_tokens) == (tokens, tokens)


async def test_dimensions_are_done_by_a_model_that_has_them(client: openai.AsyncOpenAI) -> None:
    for model in ("all", "sized"):
        found = await client.embeddings.create(model=model, input=["hello", "a"], dimensions=5)
        for item, text in zip(found.data, ("hello", "a"), strict=True):
            assert item.embedding == pytest.approx(vector(text, 5), rel=1e-3)
    with pytest.raises(openai.BadRequestError) as raised:
        await client.embeddings.create(model="batches", input="hello", dimensions=5)
    assert (raised.value.param, raised.value.code) == ("dimensions", "unsupported_parameter")


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        ({"input": [1, 2]}, 400, "input", "'input': token ids are not supported because models have their own tokens, expected text; "
         "with LangChain, OpenAIEmbeddings(check_embedding_ctx_length=False)"),
        ({"input": [[1, 2], [3]]}, 400, "input", "'input': token ids are not supported"),
        ({"input": []}, 400, "input", "'input': expected a string or an array of strings, got []"),
        ({"input": ["a", 5]}, 400, "input", "'input': expected a string or an array of strings, got ['a', 5]"),
        ({"input": None}, 400, "input", "'input' is missing, expected a string"),
        ({"encoding_format": "hex"}, 400, "encoding_format", "'encoding_format': expected one of float, base64, got 'hex'"),
        ({"dimensions": 0}, 400, "dimensions", "'dimensions': expected a whole number from 1 to 2147483647, got 0"),
        ({"truncate": True}, 400, "truncate", "'truncate' is no field of embeddings, expected dimensions, encoding_format, input, model or user"),
        ({"model": ""}, 400, "model", "'model' is empty, expected the name of a model"),
        ({"model": "absent"}, 404, "model", "model 'absent' is unknown"),
        ({"model": "three"}, 501, None, "model 'three' has the parameter api \"openai-embedding\", but has output 'embedding'"),
        ({"input": ["short", "a"]}, 500, None, "model 'batches'"),
        ({"model": "all", "input": ["short", "a"]}, 500, None, "model 'all': output 'embedding' has shape [1, 3], expected [2, -1]"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(
    hub: Hub, body: dict[str, Any], status: int, param: str | None, said: str
) -> None:
    answer, found, _ = await hub.post("/v1/embeddings", {"model": "batches", "input": "a", **body})
    assert (answer, found["error"]["param"], found["error"]["message"][: len(said)]) == (status, param, said)


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize(
    ("model", "number", "shown"),
    [("batches", "nan", "nan"), ("batches", "-inf", "-inf"), ("sized", "inf", "inf"), ("all", "nan", "nan"),
     ("all", "1e300", "inf")],
)  # fmt: skip
async def test_a_number_that_is_not_finite_is_the_models_fault(
    client: openai.AsyncOpenAI, model: str, number: str, shown: str, form: Any
) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        await client.embeddings.create(model=model, input=["a", f"number {number}"], encoding_format=form)
    assert (raised.value.status_code, raised.value.code) == (500, "model_failed")
    said = f"model '{model}': output 'embedding' holds {shown}, expected numbers that are finite as FP32"
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"] == said


async def test_the_largest_numbers_of_fp32_are_fine(client: openai.AsyncOpenAI) -> None:
    for model in ("batches", "all"):
        found = await client.embeddings.create(model=model, input=["number 3.4e38"] * 8)
        assert [item.embedding[1] for item in found.data][-1] == pytest.approx(3.4e38)


@pytest.mark.parametrize("model", ["all", "sized"])
async def test_less_than_no_tokens_are_the_models_fault(client: openai.AsyncOpenAI, model: str) -> None:
    with pytest.raises(
        openai.InternalServerError, match=r"output 'prompt_tokens' is .-1.*expected numbers from 0"
    ):
        await client.embeddings.create(model=model, input=["less"])


@pytest.mark.parametrize(
    "more",
    [{"stop": "x"}, {"temperature": 0.5}, {"top_p": 1}, {"max_tokens": 5}, {"max_completion_tokens": 5}, {"seed": 7},
     {"frequency_penalty": 0}, {"presence_penalty": 0}, {"reasoning_effort": "low"}, {"stream": True},
     {"stream_options": {"include_usage": True}}, {"messages": []}, {"prompt": "x"}],
)  # fmt: skip
async def test_what_is_for_generated_text_is_refused(
    client: openai.AsyncOpenAI, more: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.embeddings.create(model="batches", input="a", extra_body=more)
    (name,) = more
    assert (raised.value.param, raised.value.code) == (name, "unknown_parameter")
    assert f"'{name}' is no field of embeddings, expected dimensions, " in raised.value.message


async def test_user_is_ignored(client: openai.AsyncOpenAI) -> None:
    found = await client.embeddings.create(model="batches", input="hello", user="me")
    assert len(found.data) == 1


async def test_many_texts_are_one_call(client: openai.AsyncOpenAI) -> None:
    texts = [f"text {number}" for number in range(20_000)]
    found = await client.embeddings.create(model="all", input=texts)
    assert [item.embedding[0] for item in found.data] == pytest.approx([len(text) / 3 for text in texts])


async def test_langchain(hub: Hub) -> None:
    made = OpenAIEmbeddings(
        model="batches", base_url=f"{hub.url}/v1", api_key=SecretStr("any"), check_embedding_ctx_length=False,
        chunk_size=32, max_retries=0,
    )  # fmt: skip
    texts = [f"text {number}" for number in range(70)]
    found = await made.aembed_documents(texts)
    assert found == [pytest.approx(vector(text), rel=1e-6) for text in texts]
    assert await asyncio.to_thread(made.embed_query, "hello") == pytest.approx(vector("hello"), rel=1e-6)


async def test_langchain_with_token_ids_is_told_what_to_set(hub: Hub) -> None:
    body = {
        "model": "batches",
        "input": [[15339]],
        "encoding_format": "base64",
    }  # as it sends them by default
    _, found, _ = await hub.post("/v1/embeddings", body)
    assert found["error"]["message"].endswith("OpenAIEmbeddings(check_embedding_ctx_length=False)")
