"""The audit log: who was refused and why, who changed settings, and which files came into use."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.auth.audit import MOST_REFUSED
from inferencehub.core.auth.key_file import new_key
from inferencehub.core.auth.peer import address_in, address_of
from inferencehub.core.oip import messages
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, mock_model, running_hub
from tests.inference.pod_processes import features

KEYS = {name: new_key(name) for name in ("ci", "admin", "slow")}
RIGHTS: dict[str, dict[str, Any]] = {
    "ci": {"tenant": "search", "models": ["quick"]},
    "admin": {"actions": ["control"]},
    "slow": {"rate": 0.001},
}
CALL = {"features": [1.0, 2.0], "model_name": "quick"}


@asynccontextmanager
async def hub_with_keys(tmp_path: Path) -> AsyncIterator[Hub]:
    for name in ("quick", "hidden"):
        mock_model(tmp_path / "models", name)
    file = tmp_path / "keys.json"
    write(file, "ci", "admin", "slow")
    async with running_hub(tmp_path / "models", api_keys=str(file)) as hub:
        yield hub


def write(file: Path, *names: str) -> None:
    """Put these keys into the file."""
    entries = [
        {"id": name, "sha256": sha256(KEYS[name].encode()).hexdigest(), **RIGHTS[name]} for name in names
    ]
    file.write_text(json.dumps({"keys": entries}))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Returns event and fields of each line since the last time."""
    caplog.set_level(logging.INFO)

    def found(*fields: str) -> list[tuple[Any, ...]]:
        own = [record for record in caplog.records if record.name == "inferencehub.audit"]
        caplog.clear()
        return [(one.getMessage(), *(vars(one)[field] for field in fields)) for one in own]

    return found


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


async def test_refusals_over_http(tmp_path: Path, lines: Any) -> None:
    async with hub_with_keys(tmp_path) as hub:
        await hub.post("/predict", CALL, headers=bearer("ci"))
        assert lines() == []
        hidden = {**CALL, "model_name": "hidden"}
        for call, who, said in (
            (hub.post("/predict", CALL, headers={"x-request-id": "r1"}), ("", ""), "there is no key: send"),
            (
                hub.post("/predict", hidden, headers={**bearer("ci"), "x-request-id": "r1"}),
                ("ci", "search"),
                "key 'ci' may not use model 'hidden'",
            ),
            (
                hub.get("/v2/models/hidden", headers={**bearer("ci"), "x-request-id": "r1"}),
                ("ci", "search"),
                "key 'ci' may not use model 'hidden'",
            ),
            (
                hub.get("/v2/models", headers={"x-request-id": "r1", "x-api-key": "hub_a"}),
                ("", ""),
                "the key is unknown",
            ),
        ):
            await call
            ((event, *found, reason),) = lines("id", "caller", "tenant", "address", "reason")
            assert (event, *found) == ("refused", "r1", *who, "127.0.0.1")
            assert reason.startswith(said)
        await hub.post("/v2/models/none/infer", {"inputs": []}, headers=bearer("ci"))
        await hub.post("/predict", {"features": "a", "model_name": "quick"}, headers=bearer("ci"))
        assert [reason for _, reason in lines("reason")] == ["key 'ci' may not use model 'none'"], (
            "no bad input"
        )
        for _ in range(2):
            await hub.post("/predict", CALL, headers=bearer("slow"))
        assert lines("caller", "reason") == [
            ("refused", "slow", "key 'slow' may make 0.001 calls a second, and 1 at once")
        ]


async def test_refusals_over_grpc(tmp_path: Path, lines: Any) -> None:
    async with (
        hub_with_keys(tmp_path) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        infer: Any = channel.unary_unary(
            f"/{messages.SERVICE}/ModelInfer", request_serializer=pb.ModelInferRequest.SerializeToString
        )
        open_stream: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString
        )
        key = tuple(bearer("ci").items())
        with pytest.raises(grpc.aio.AioRpcError):
            await infer(features("hidden", 1.0), metadata=(*key, ("x-request-id", "r2")))
        expected = ("refused", "r2", "ci", "search", "127.0.0.1", "key 'ci' may not use model 'hidden'")
        assert lines("id", "caller", "tenant", "address", "reason") == [expected]
        with pytest.raises(grpc.aio.AioRpcError):
            await open_stream(metadata=tuple(bearer("admin").items())).read()
        said = "key 'admin' may not infer, it may control"
        assert lines("id", "caller", "reason") == [("refused", "", "admin", said)]
        stream = open_stream(metadata=key)
        await stream.write(features("hidden", 1.0))
        await stream.read()
        assert lines("caller", "reason") == [("refused", "ci", "key 'ci' may not use model 'hidden'")]
        await stream.done_writing()


async def test_who_changes_settings(tmp_path: Path, lines: Any) -> None:
    async with hub_with_keys(tmp_path) as hub:
        level = logging.getLogger().level
        try:
            await hub.post("/v2/logging", {}, headers={**bearer("admin"), "x-request-id": "r3"})
            expected = ("control", "r3", "admin", "127.0.0.1", "POST /v2/logging")
            assert lines("id", "caller", "address", "call") == [expected]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
                change: Any = channel.unary_unary(
                    f"/{messages.SERVICE}/LogSettings",
                    request_serializer=pb.LogSettingsRequest.SerializeToString,
                )
                settings = pb.LogSettingsRequest()
                settings.settings["log_info"].bool_param = True
                with pytest.raises(grpc.aio.AioRpcError):  # it may not ask, so it can't see the answer
                    await change(settings, metadata=tuple(bearer("ci").items()))
            assert [event for event, *_ in lines()] == ["refused"]
        finally:
            logging.getLogger().setLevel(level)


async def test_files_that_came_into_use(tmp_path: Path, lines: Any) -> None:
    async with hub_with_keys(tmp_path) as hub:
        keys = hub.gateway.callers.keys
        assert keys is not None
        write(tmp_path / "keys.json", "ci")
        keys.look()
        assert lines("setting") == [("files reloaded", "HUB_API_KEYS")]
        with (tmp_path / "keys.json").open("a") as file:
            file.write("}")
        keys.look()
        text = "changed files are not used, the last good contents stay in use"
        assert lines("setting") == [(text, "HUB_API_KEYS")]


async def test_strangers_do_not_fill_the_log(tmp_path: Path, lines: Any) -> None:
    async with hub_with_keys(tmp_path) as hub:
        for _ in range(2 * MOST_REFUSED):
            assert (await hub.post("/predict", CALL))[0] == 401
        audit = hub.gateway.calls.audit
        written = len(lines())
        assert MOST_REFUSED <= written < 2 * MOST_REFUSED, "a second may have begun"
        left = audit._silent
        audit._second -= 1.0
        await hub.post("/predict", CALL)
        if left:
            assert lines("more") == [("refused", left)]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:5000", "10.0.0.7"),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_addresses_of_grpc(peer: str, address: str) -> None:
    assert address_in(peer) == address


@pytest.mark.parametrize(
    ("name", "address"),
    [(("::ffff:10.0.0.7", 1, 0, 0), "10.0.0.7"), (("::1", 1, 0, 0), "::1"), ("", ""), (None, "")],
)
def test_addresses_of_sockets(name: Any, address: str) -> None:
    assert address_of(name) == address
