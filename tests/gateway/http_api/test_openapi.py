"""The OpenAPI document: it agrees with the routes, its references and examples work, its page needs no other site."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import aiohttp
from starlette.routing import Route

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.http_api.batches.pages import BatchPages
from inferencehub.gateway.http_api.jobs.events import EVENTS
from inferencehub.gateway.http_api.jobs.pages import JobPages
from inferencehub.gateway.http_api.metadata import Metadata
from inferencehub.gateway.http_api.openai_batches.batches import OpenAIBatchPages
from inferencehub.gateway.http_api.openai_batches.files import FilePages
from inferencehub.gateway.http_api.pages.openapi import CALL, openapi
from inferencehub.gateway.http_api.routes import ENDPOINTS, pages
from inferencehub.gateway.http_api.v1.models import ModelPagesV1
from inferencehub.gateway.http_api.v2.control import ControlPages
from inferencehub.gateway.http_api.v2.models import ModelPages
from inferencehub.gateway.http_api.v2.settings import SettingPages
from inferencehub.gateway.json_codec.answer_json import PredictAnswer
from inferencehub.gateway.json_codec.request_json import InferBody, PredictBody, decode_infer, decode_predict
from inferencehub.gateway.json_codec.tensor_json import TensorBody
from tests.gateway.http_api.openai.scripted import scripted
from tests.hub import MODELS, Hub, mock_model, running_hub

SPEC = json.loads(json.dumps(openapi()))
SCHEMAS = SPEC["components"]["schemas"]
OPENAI = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
    *("/v1/files", "/v1/batches", "/v1/batches/{id}/cancel"),
)
ERRORS = {"/predict": "PredictAnswer", **dict.fromkeys(OPENAI, "OpenAIError")}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and object of each operation."""
    for path, methods in SPEC["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(value: Any) -> Any:
    """What a reference points to."""
    found = SPEC
    for key in value["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return found


def references(value: Any) -> Iterator[Any]:
    """All objects that are references, however deep."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_it_has_each_route_and_no_other() -> None:
    nobody = cast(Any, None)
    served = {("POST", path) for path in ENDPOINTS} | {("GET", EVENTS)}
    for route in pages(
        Metadata(nobody, nobody, str, nobody),
        ModelPages(nobody),
        ModelPagesV1(nobody),
        SettingPages(nobody, nobody),
        ControlPages(None),
        [
            *JobPages(nobody).routes(),
            *BatchPages(nobody, nobody, 0).routes(),
            *FilePages(nobody, nobody, nobody).routes(),
            *OpenAIBatchPages(nobody, nobody, nobody, 0).routes(),
        ],
    ):
        assert isinstance(route, Route)
        if route.path not in ("/", "/v2/"):  # other ways to /docs and /v2
            served |= {(method, route.path) for method in (route.methods or set()) - {"HEAD"}}
    assert {(method, path) for method, path, _ in operations()} == served


def test_it_is_well_formed() -> None:
    assert SPEC["openapi"].startswith("3.1.")
    assert all(SPEC["info"][key] for key in ("title", "version"))
    assert all(isinstance(resolved(reference), dict) for reference in references(SPEC))
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", id) for id in ids)
    for method, path, operation in operations():
        parameters = [resolved(parameter) for parameter in operation["parameters"]]
        assert all({"name", "in", "schema"} <= parameter.keys() for parameter in parameters)
        in_path = {
            parameter["name"]
            for parameter in parameters
            if parameter["in"] == "path" and parameter["required"]
        }
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert ("requestBody" in operation) is (method == "POST" and "{id}" not in path)
        assert "200" in operation["responses"]
        assert all(
            response["description"] and response["content"] for response in operation["responses"].values()
        )


def test_every_schema_is_used() -> None:
    used = {reference["$ref"] for reference in references(SPEC)}
    for kind, parts in SPEC["components"].items():
        if kind != "securitySchemes":  # they are named without their place
            assert {f"#/components/{kind}/{name}" for name in parts} <= used
    schemes = {
        name for _, _, operation in operations() for needed in operation["security"] for name in needed
    }
    assert schemes == set(SPEC["components"]["securitySchemes"])


async def test_what_needs_no_key_is_said(tmp_path: Path) -> None:
    """Asked without a key, at a gateway that wants one."""
    mock_model(tmp_path / "models", "v1-mock")
    (tmp_path / "keys.json").write_text('{"keys": []}')
    async with running_hub(tmp_path / "models", api_keys=str(tmp_path / "keys.json")) as hub:
        for method, path, operation in operations():
            url = hub.url + path.format(model="v1-mock", version="1", id="1")
            async with hub.client.request(method, url, json={} if method == "POST" else None) as answer:
                refused = answer.status == 401
            assert refused is ("401" in operation["responses"]), path
            assert refused is (operation["security"] != [{}])


def test_calls_document_every_error_that_they_can_give() -> None:
    elsewhere = {Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.CALLER_LEFT, Kind.CONFLICT, Kind.GONE}
    assert set(CALL) == {kind.http for kind in Kind if kind not in elsewhere}
    for method, path, operation in operations():
        for status, response in operation["responses"].items():
            assert ("Retry-After" in response["headers"]) is (status in ("202", "429", "503"))
            if method == "POST" and status not in ("200", "202"):
                shape = response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                assert shape == ERRORS.get(path, "Error")


def test_bodies_have_the_properties_that_are_read_and_written() -> None:
    tensor = SCHEMAS["InferRequest"]["properties"]["inputs"]["items"]
    assert set(SCHEMAS["PredictRequest"]["properties"]) == set(PredictBody.__struct_fields__)
    assert set(SCHEMAS["PredictAnswer"]["properties"]) == set(PredictAnswer.__struct_fields__)
    assert set(SCHEMAS["InferRequest"]["properties"]) == set(InferBody.__struct_fields__)
    assert set(tensor["properties"]) == set(TensorBody.__struct_fields__) - {"parameters"}


async def test_examples_are_answered_and_the_answers_are_as_documented(tmp_path: Any) -> None:
    mock_model(tmp_path, "v1-mock")
    for sample in ("markov-chat", "letter-grams"):
        (tmp_path / sample).symlink_to(MODELS / sample)
    scripted(tmp_path, "my-completion", api="openai-completion")
    traffic = tmp_path / "traffic.json"
    traffic.write_text('{"models": {"v1-mock": {"weights": {"1": 1}}}}')
    settings: dict[str, Any] = {"jobs": "sqlite::memory:", "model_loads": True, "traffic": str(traffic)}
    told = {"model_control": "explicit", "load_models": ("*",)}
    async with running_hub(tmp_path, pod=told, **settings) as hub:
        for method, path, operation in operations():
            url = path.format(model="v1-mock", version="1", id="1")
            if url == "/docs" or "{id}" in path:  # the tests of jobs have jobs to ask for
                continue
            if "multipart/form-data" in operation.get("requestBody", {}).get("content", ()):
                continue  # it is sent for the batch
            body = SCHEMAS[example_of(operation)]["example"] if method == "POST" else None
            if url == "/v1/batches" and body:
                body = {**body, "input_file_id": await sent(hub)}
            response = operation["responses"]["202" if path == "/v2/jobs" and body else "200"]
            if "text/event-stream" in response["content"]:
                async with hub.client.post(hub.url + url, json=body) as stream:
                    assert (stream.status, stream.content_type) == (200, "text/event-stream")
                    assert all(name in stream.headers for name in response["headers"])
                continue
            status, answer, headers = await (hub.post(url, body) if body else hub.get(url))
            assert status == (202 if "Hub-Durability" in response["headers"] else 200), (url, answer)
            assert all(name in headers for name in response["headers"])
            schema = resolved(response["content"]["application/json"]["schema"])
            if "properties" in schema:
                known = set(schema["properties"]) | (
                    answer.keys() if "additionalProperties" in schema else set()
                )
                assert set(schema["required"]) <= answer.keys() <= known, url
        await page(hub)


async def sent(hub: Hub) -> str:
    """The id of a file that was sent, which is as documented."""
    chat = {"url": "/v1/chat/completions", "body": SCHEMAS["ChatRequest"]["example"]}
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", json.dumps({"custom_id": "1", "method": "POST", **chat}), filename="calls.jsonl")
    async with hub.client.post(f"{hub.url}/v1/files", data=form) as answer:
        found = await answer.json()
        assert (answer.status, found.keys()) == (200, SCHEMAS["File"]["properties"].keys())
        return str(found["id"])


def example_of(operation: Any) -> str:
    """The name of the schema of an operation's body."""
    name: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return name


def test_examples_can_be_read() -> None:
    assert decode_predict(json.dumps(SCHEMAS["PredictRequest"]["example"]).encode()).model_name == "v1-mock"
    request, _ = decode_infer(json.dumps(SCHEMAS["InferRequest"]["example"]).encode(), "v1-mock", "")
    assert request.inputs[0].shape == (3,)


async def page(hub: Hub) -> None:
    """The page is served as HTML."""
    async with hub.client.get(hub.url + "/docs") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert (
            await answer.text()
            == files("inferencehub.gateway.http_api.pages").joinpath("docs.html").read_text()
        )


def test_the_page_asks_for_nothing_but_the_document_and_the_models() -> None:
    html = files("inferencehub.gateway.http_api.pages").joinpath("docs.html").read_text()
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert set(re.findall(r'href="([^"]*)"', html)) == {"openapi.json", "data:,"}
    assert re.findall(r"fetch\((.*?)[,)]", html) == ["url.value", "path", '"openapi.json"']
    assert re.findall(r"\bask\((.*?)[,)]", html) == ["path", "at", "`${at}/config`", '"v2/models"']
    assert "path.slice(1)" in html, "what it tries is relative, because the page may stand behind a prefix"
