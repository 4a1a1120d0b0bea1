"""Clients of others through TLS with keys and with certificates: curl, grpcurl and tritonclient, none of them changed."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.authority import Authority, Secret, client
from tests.gateway.keyed_hub import CALLS, INFER, KEYS, bearer, hub_with_keys
from tests.hub import ROOT, Hub
from tests.programs import CURL, grpcurl, on_path

pytestmark = pytest.mark.tools

SERVICE = "inference.GRPCInferenceService"
WRONG = {"authorization": "Bearer hub_all_nonsense"}
HEADERS = [bearer("all"), {"x-api-key": KEYS["all"]}]
FEATURES = np.array([1.5, -2.0, 0.25], np.float32)


class Shown:
    """What a caller trusts and shows, as files.

    Args:
        authority: of the gateway's certificate.
        certificate: the certificate of the caller and its key; None if it shows none.

    `nobody` is what is said to who sends no key.
    """

    def __init__(self, authority: Authority, certificate: tuple[Path, Path] | None) -> None:
        self.ca = str(authority.certificate)
        self.certificate = None if certificate is None else str(certificate[0])
        self.key = None if certificate is None else str(certificate[1])
        self.nobody = "there is no key" if certificate is None else "the certificate is for caller"
        self.context = client(authority.certificate.read_text(), certificate)

    def curl(self) -> list[str]:
        """As options of curl."""
        own = [] if self.certificate is None else ["--cert", self.certificate, "--key", str(self.key)]
        return ["--cacert", self.ca, *own]

    def grpcurl(self) -> list[str]:
        """As options of grpcurl."""
        own = [] if self.certificate is None else ["-cert", self.certificate, "-key", str(self.key)]
        return ["-cacert", self.ca, *own]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@asynccontextmanager
async def secure_hub(tmp_path: Path, authority: Authority, mutual: bool) -> AsyncIterator[tuple[Hub, Shown]]:
    """A gateway that asks for keys, and for certificates too if it is `mutual`; and what its callers trust and show."""
    secret = Secret(tmp_path / "secret")
    secret.hold(*authority.signed("gateway"), authority)
    asked = {"tls_ca": str(secret.directory / "ca.crt")} if mutual else {}
    async with hub_with_keys(tmp_path, **secret.settings, **asked) as hub:
        yield hub, Shown(authority, authority.signed("caller") if mutual else None)


async def run(*command: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a program."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def options(headers: dict[str, str]) -> list[str]:
    """Headers as curl and grpcurl take them."""
    return [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]


both = pytest.mark.parametrize("mutual", [False, True], ids=["keys", "certificates too"])


@both
async def test_curl(tmp_path: Path, authority: Authority, mutual: bool) -> None:
    async with secure_hub(tmp_path, authority, mutual) as (hub, shown):
        url, curl = f"https://localhost:{hub.gateway.port}", [on_path(CURL), "-s", "-w", "\n%{http_code}"]
        body = json.dumps(CALLS["/predict"])
        for headers in HEADERS:
            _, out, _ = await run(*curl, *shown.curl(), *options(headers), f"{url}/predict", "-d", body)
            answer, status = out.rsplit("\n", 1)
            assert (status, json.loads(answer)["error"]) == ("200", "")
            _, out, _ = await run(*curl, *shown.curl(), *options(headers), f"{url}/v2/models")
            assert [model["name"] for model in json.loads(out.rsplit("\n", 1)[0])["models"]] == [
                "hidden",
                "quick",
            ]
        for headers, path in ((WRONG, "/predict"), ({}, "/v2/models")):
            data = ["-d", body] if path == "/predict" else []
            assert (await run(*curl, *shown.curl(), *options(headers), url + path, *data))[1].endswith(
                "\n401"
            )
        code, _, _ = await run(*curl, *options(HEADERS[0]), f"{url}/v2/models")
        assert code == 60, "who does not trust the authority asks nothing"
        if mutual:
            code, out, _ = await run(*curl, "--cacert", shown.ca, *options(HEADERS[0]), f"{url}/v2/models")
            assert (code != 0, out.endswith("000")) == (True, True), "who shows no certificate gets no answer"


@both
@pytest.mark.parametrize("source", [[], ["-import-path", str(ROOT / "proto"), "-proto", "open_inference.proto"]],
                         ids=["reflection", "proto"])  # fmt: skip
async def test_grpcurl(tmp_path: Path, authority: Authority, mutual: bool, source: list[str]) -> None:
    async with secure_hub(tmp_path, authority, mutual) as (hub, shown):
        command = [await asyncio.to_thread(grpcurl), *shown.grpcurl(), *source]
        address = f"localhost:{hub.gateway.grpc.port}"
        contents = {"fp32_contents": [1.0, 2.0]}
        tensor = {"name": "features", "datatype": "FP32", "shape": [2], "contents": contents}
        asked = json.dumps({"model_name": "quick", "id": "7", "inputs": [tensor]})

        async def ask(headers: dict[str, str], method: str, *data: str) -> tuple[int, str, str]:
            return await run(*command, *options(headers), *data, address, f"{SERVICE}/{method}")

        code, listed, _ = await run(*command, *([] if source else [address]), "list")
        assert (code, SERVICE in listed.split()) == (0, True)
        for headers in HEADERS:
            code, out, errors = await ask(headers, "ModelInfer", "-d", asked)
            assert (code, errors) == (0, "")
            answer = json.loads(out)
            assert (answer["id"], [one["name"] for one in answer["outputs"]]) == (
                "7",
                ["class_id", "confidence"],
            )
            assert "hub_" not in json.dumps(answer["outputs"])
            code, out, _ = await ask(headers, "ModelMetadata", "-d", '{"name": "quick"}')
            assert (code, json.loads(out)["inputs"][0]["name"]) == (0, "features")
            code, out, _ = await ask(headers, "RepositoryIndex")
            assert [model["name"] for model in json.loads(out)["models"]] == ["hidden", "quick"]
            stream = json.dumps({"model_name": "quick", "inputs": [tensor]}) * 2
            code, out, errors = await ask(headers, "ModelStreamInfer", "-d", stream)
            assert (code, out.count("inferResponse"), errors) == (0, 2, "")
        for method, data in (("ModelInfer", asked), ("ModelStreamInfer", asked), ("RepositoryIndex", "{}")):
            for headers, sentence in ((WRONG, "the key is unknown"), ({}, shown.nobody)):
                code, _, errors = await ask(headers, method, "-d", data)
                assert code != 0
                assert "Code: Unauthenticated" in errors
                assert sentence in errors
        code, out, _ = await ask({}, "ServerLive")
        assert (code, json.loads(out)) == (0, {"live": True})
        if mutual:
            command = [command[0], "-cacert", shown.ca, "-connect-timeout", "5", *source]
            assert (await ask(HEADERS[0], "ServerLive"))[0] != 0


def tensors(module: Any) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of a call, in one of tritonclient's two forms."""
    given = module.InferInput("features", list(FEATURES.shape), "FP32")
    given.set_data_from_numpy(FEATURES)
    return [given], [module.InferRequestedOutput(name) for name in ("class_id", "confidence")]


def refused(ask: Callable[..., Any], status: str, sentence: str, **arguments: Any) -> None:
    """A call with a wrong key, and with none, ends as it must."""
    for headers in (dict(WRONG), {}):
        with pytest.raises(InferenceServerException) as caught:
            ask(headers=headers, **arguments)
        assert caught.value.status() == status
    assert sentence in caught.value.message()


@both
async def test_tritonclient(tmp_path: Path, authority: Authority, mutual: bool) -> None:
    async with secure_hub(tmp_path, authority, mutual) as (hub, shown):
        expected = await plain_answer(hub, shown)
        for both_ways in (over_http, over_grpc):
            answers = await asyncio.to_thread(both_ways, hub, shown)
            assert len(answers) == len(HEADERS)
            for answer in answers:
                for name, values in expected.items():
                    np.testing.assert_array_equal(answer.as_numpy(name), values)
        await asynchronous(hub, shown, expected)


async def plain_answer(hub: Hub, shown: Shown) -> dict[str, Any]:
    """The outputs as JSON has them, by name."""
    body = {"inputs": [{**INFER["inputs"][0], "shape": list(FEATURES.shape), "data": FEATURES.tolist()}]}
    url = f"https://localhost:{hub.gateway.port}/v2/models/quick/infer"
    async with hub.client.post(url, json=body, headers=HEADERS[0], ssl=shown.context) as answer:
        outputs = (await answer.json())["outputs"]
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]).astype(np.float32) for one in outputs}


def copies() -> list[dict[str, str]]:
    """HEADERS to give away: tritonclient writes into the headers of a caller."""
    return [dict(headers) for headers in HEADERS]


def over_http(hub: Hub, shown: Shown) -> list[Any]:
    """The answers to a call with each of HEADERS; on the way, all that is no call of a model."""
    files = {"ca_certs": shown.ca, "certfile": shown.certificate, "keyfile": shown.key}
    files = {name: file for name, file in files.items() if file is not None}
    url = f"localhost:{hub.gateway.port}"
    inputs, outputs = tensors(triton_http)
    with triton_http.InferenceServerClient(url, ssl=True, ssl_options=files) as asking:
        assert (asking.is_server_live(), asking.is_server_ready()) == (True, True)
        for headers in copies():
            assert asking.is_model_ready("quick", headers=headers)
            assert asking.get_server_metadata(headers=headers)["name"] == "inferencehub"
            assert asking.get_model_metadata("quick", headers=headers)["inputs"][0]["name"] == "features"
            assert asking.get_model_config("quick", headers=headers)["name"] == "quick"
            listed = asking.get_model_repository_index(headers=headers)
            assert [one["name"] for one in listed] == ["hidden", "quick"]
        refused(asking.infer, "401", shown.nobody, model_name="quick", inputs=inputs)
        refused(asking.get_model_metadata, "401", shown.nobody, model_name="quick")
        refused(asking.get_model_repository_index, "401", shown.nobody)
        assert not asking.is_model_ready("quick", headers=dict(WRONG))
        later = asking.async_infer("quick", inputs, headers=copies()[0]).get_result()
        assert later.as_numpy("class_id").shape == (1,)
        return [asking.infer("quick", inputs, outputs=outputs, headers=headers) for headers in copies()]


def over_grpc(hub: Hub, shown: Shown) -> list[Any]:
    """The same over gRPC, and over a stream."""
    files = {
        "root_certificates": shown.ca,
        "certificate_chain": shown.certificate,
        "private_key": shown.key,
    }
    url = f"localhost:{hub.gateway.grpc.port}"
    inputs, outputs = tensors(triton_grpc)
    streamed: Queue[Any] = Queue()

    def told(result: Any, error: Any) -> None:
        streamed.put((result, error))

    with triton_grpc.InferenceServerClient(url, ssl=True, **files) as asking:
        assert (asking.is_server_live(), asking.is_server_ready()) == (True, True)
        for headers in copies():
            assert asking.is_model_ready("quick", headers=headers)
            assert asking.get_server_metadata(headers=headers).name == "inferencehub"
            assert asking.get_model_metadata("quick", headers=headers).inputs[0].name == "features"
            assert asking.get_model_config("quick", headers=headers).config.name == "quick"
            listed = asking.get_model_repository_index(headers=headers)
            assert [one.name for one in listed.models] == ["hidden", "quick"]
            asking.start_stream(told, headers=headers)
            asking.async_stream_infer("quick", inputs)
            result, error = streamed.get(timeout=20)
            assert error is None
            assert result.as_numpy("class_id").shape == (1,)
            asking.stop_stream()
        status = "StatusCode.UNAUTHENTICATED"
        refused(asking.infer, status, shown.nobody, model_name="quick", inputs=inputs)
        refused(asking.get_model_metadata, status, shown.nobody, model_name="quick")
        refused(asking.get_model_repository_index, status, shown.nobody)
        asking.start_stream(told, headers=dict(WRONG))
        result, error = streamed.get(timeout=20)  # before a request
        assert (result, "the key is unknown" in str(error)) == (None, True)
        return [asking.infer("quick", inputs, outputs=outputs, headers=headers) for headers in copies()]


async def asynchronous(hub: Hub, shown: Shown, expected: dict[str, Any]) -> None:
    """Both forms of tritonclient for asyncio."""
    files = (shown.ca, shown.key, shown.certificate)
    parts = [None if file is None else await asyncio.to_thread(Path(file).read_bytes) for file in files]
    credentials = grpc.ssl_channel_credentials(*parts)
    url, port = "localhost", hub.gateway.port
    for module, asking in (
        (triton_http, triton_http_aio.InferenceServerClient(f"{url}:{port}", ssl=True, ssl_context=shown.context)),
        (triton_grpc, triton_grpc_aio.InferenceServerClient(f"{url}:{hub.gateway.grpc.port}", creds=credentials)),
    ):  # fmt: skip
        inputs, outputs = tensors(module)
        for headers in copies():
            answer = await asking.infer("quick", inputs, outputs=outputs, headers=headers)
            for name, values in expected.items():
                np.testing.assert_array_equal(answer.as_numpy(name), values)
        with pytest.raises(InferenceServerException, match="the key is unknown"):
            await asking.infer("quick", inputs, headers=dict(WRONG))
        await asking.close()
