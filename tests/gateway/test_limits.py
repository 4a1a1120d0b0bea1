"""Limits of tenants, models and addresses, of rows and of bodies: who is refused, with what, and who is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.oip import messages
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub, write_model
from tests.inference.pod_processes import features

# A token comes in 100 s: no test lasts so long.
SLOWLY = 0.01
KEYS: dict[str, dict[str, Any]] = {
    "red": {"tenant": "search"},
    "blue": {"tenant": "search"},
    "green": {"tenant": "ads"},
    "rows": {"rows": SLOWLY, "rows_burst": 5},
    "short": {"body_bytes": 1000},
}
SECRETS = {name: new_key(name) for name in KEYS}
QUICK = {"features": [1.0], "model_name": "quick"}
TWO_ROWS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 2.0]}]}
ECHO = """class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
BATCHES = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""


@asynccontextmanager
async def limited_hub(
    tmp_path: Path, limits: dict[str, Any], keys: bool = True, **settings: Any
) -> AsyncIterator[Hub]:
    """Some models, and a gateway with these limits, and with keys if it asks for them."""
    for name in ("quick", "other"):
        mock_model(tmp_path / "models", name)
    mock_model(tmp_path / "models", "slow", delay_ms=60_000, slots=8)
    write_model(tmp_path / "models", "echo", BATCHES, {"1/model.py": ECHO})
    if limits:
        write(tmp_path, limits)
        settings["limits"] = str(tmp_path / "limits.json")
    if keys:
        entries = [
            {"id": name, "sha256": sha256(SECRETS[name].encode()).hexdigest(), **fields}
            for name, fields in KEYS.items()
        ]
        (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
        settings["api_keys"] = str(tmp_path / "keys.json")
    async with running_hub(tmp_path / "models", **settings) as hub:
        yield hub


def write(tmp_path: Path, limits: dict[str, Any]) -> None:
    (tmp_path / "limits.json").write_text(json.dumps(limits))


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


async def over_grpc(hub: Hub, metadata: dict[str, str], asked: Any) -> tuple[str, str]:
    """Status and sentence of a ModelInfer."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        infer: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        try:
            await infer(asked.SerializeToString(), metadata=tuple(metadata.items()))
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


async def test_the_keys_of_a_tenant_share_its_limit_and_a_new_file_counts_on(tmp_path: Path) -> None:
    limits = {"tenants": [{"tenant": "search", "rate": SLOWLY, "burst": 3}]}
    said = "tenant 'search' may make 0.01 calls a second, and 3 at once"
    async with limited_hub(tmp_path, limits) as hub:
        assert (await hub.post("/predict", QUICK, headers=bearer("red")))[0] == 200
        assert (await hub.post("/predict", QUICK, headers=bearer("blue")))[0] == 200
        assert await over_grpc(hub, bearer("red"), features("quick", 1.0)) == ("OK", "")
        status, answer, headers = await hub.post("/predict", QUICK, headers=bearer("blue"))
        assert (status, answer["error"]) == (429, said)
        assert headers["ratelimit-policy"] == '"tenant";q=3;w=300'
        assert headers["ratelimit"] == f'"tenant";r=0;t={headers["retry-after"]}'
        assert await over_grpc(hub, bearer("red"), features("quick", 1.0)) == ("RESOURCE_EXHAUSTED", said)
        assert (await hub.post("/predict", QUICK, headers=bearer("green")))[0] == 200
        limits["tenants"][0]["burst"] = 5
        write(tmp_path, limits)
        gateway_limits = hub.gateway.callers.limits
        assert gateway_limits is not None
        await eventually(lambda: gateway_limits.reloads == 1)
        assert (await hub.post("/predict", QUICK, headers=bearer("red")))[0] == 429, "what was used counts"
        write(tmp_path, {})
        await eventually(lambda: gateway_limits.reloads == 2)
        assert (await hub.post("/predict", QUICK, headers=bearer("red")))[0] == 200


async def test_the_limit_of_every_tenant_is_one_for_each(tmp_path: Path) -> None:
    async with limited_hub(tmp_path, {"tenants": [{"tenant": "*", "rate": SLOWLY, "burst": 1}]}) as hub:
        found = [
            (await hub.post("/predict", QUICK, headers=bearer(name)))[0]
            for name in ("red", "green", "blue", "rows")
        ]
        assert found == [200, 200, 429, 200], (
            "search and ads have one call each, and so has who has no tenant"
        )
        status, answer, _ = await hub.post("/predict", QUICK, headers=bearer("rows"))
        said = "key 'rows' may make 0.01 calls a second, and 1 at once"
        assert (status, answer["error"]) == (429, said)
        assert (await hub.post("/predict", QUICK, headers=bearer("short")))[0] == 200, "it stands for itself"


async def test_rows_beyond_the_limit_wait_for_those_that_were_taken(tmp_path: Path) -> None:
    said = "key 'rows' may have 0.01 rows a second, and 5 at once"
    path = "/v2/models/echo/infer"
    async with limited_hub(tmp_path, {}) as hub:
        for _ in range(3):  # six rows: the last call begins with one row left
            assert (await hub.post(path, TWO_ROWS, headers=bearer("rows")))[0] == 200
        status, answer, headers = await hub.post(path, TWO_ROWS, headers=bearer("rows"))
        assert (status, answer["error"]) == (429, said)
        assert headers["ratelimit-policy"] == '"key-rows";q=5;w=500;qu="rows"'
        assert 190 < int(headers["retry-after"]) <= 200, "one row too much was taken, and one is needed"
        assert (await hub.post("/predict", QUICK, headers=bearer("rows")))[0] == 429
        assert await over_grpc(hub, bearer("rows"), features("quick", 1.0)) == ("RESOURCE_EXHAUSTED", said)
        assert (await hub.get("/v2/models", headers=bearer("rows")))[0] == 200, "a question has no rows"
        assert (await hub.post(path, TWO_ROWS, headers=bearer("red")))[0] == 200


async def test_a_model_has_limits_for_all_callers_together(tmp_path: Path) -> None:
    limits = {"models": [{"model": "qu*", "rate": SLOWLY, "burst": 2}, {"model": "slow", "concurrency": 1}]}
    async with limited_hub(tmp_path, limits, keys=False) as hub:
        found = [(await hub.post("/predict", QUICK))[0] for _ in range(2)]
        status, answer, headers = await hub.post("/predict", QUICK)
        assert (*found, status) == (200, 200, 429)
        assert (
            answer["error"]
            == "model 'quick' takes from all callers together 0.01 calls a second, and 2 at once"
        )
        assert headers["ratelimit-policy"] == '"model";q=2;w=200'
        assert (await hub.post("/predict", QUICK | {"model_name": "other"}))[0] == 200

        slow = {"features": [1.0], "model_name": "slow"}
        lane = hub.gateway.table.routes[("slow", "")][0].lane
        first = asyncio.create_task(hub.client.post(f"{hub.url}/predict", json=slow).__aenter__())
        await eventually(lambda: lane.in_use.jobs == 1)
        status, answer, _ = await hub.post("/predict", slow)
        assert (status, answer["error"]) == (429, "model 'slow' has 1 calls running here, which is the most")
        assert lane.in_use.jobs == 1
        first.cancel()
        await asyncio.wait([first])
        await eventually(lambda: lane.in_use.jobs == 0)
        again = asyncio.create_task(hub.client.post(f"{hub.url}/predict", json=slow).__aenter__())
        await eventually(lambda: lane.in_use.jobs == 1)
        again.cancel()
        await asyncio.wait([again])


async def test_a_call_that_its_rows_forbid_takes_no_call(tmp_path: Path) -> None:
    limits = {"addresses": {"rate": SLOWLY, "burst": 3, "rows": SLOWLY, "rows_burst": 2}}
    async with limited_hub(tmp_path, limits, keys=False) as hub:
        path = "/v2/models/echo/infer"
        found = [(await hub.post(path, TWO_ROWS))[0] for _ in range(6)]
        assert found == [200] + [429] * 5
        assert [(await hub.get("/v2/models"))[0] for _ in range(3)] == [200, 200, 429]


async def test_a_call_that_finds_a_full_queue_takes_nothing(tmp_path: Path) -> None:
    limits = {"models": [{"model": "slow", "rate": SLOWLY, "burst": 30, "rows": SLOWLY, "rows_burst": 30}]}
    slow, waiting = QUICK | {"model_name": "slow"}, list[asyncio.Task[Any]]()
    async with limited_hub(tmp_path, limits, keys=False, queue_length=1) as hub:
        lane = hub.gateway.table.routes[("slow", "")][0].lane
        while not lane.queue.rows:
            waiting.append(asyncio.create_task(hub.client.post(f"{hub.url}/predict", json=slow).__aenter__()))
            began = len(waiting)
            await eventually(lambda began=began: lane.in_use.jobs + lane.queue.rows == began)
        assert began < 20
        for _ in range(30):
            status, answer, headers = await hub.post("/predict", slow)
            assert (status, "ratelimit" in headers) == (429, False), answer
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)


async def test_a_call_that_is_refused_takes_no_rows(tmp_path: Path) -> None:
    limits = {
        "models": [{"model": "other", "rate": SLOWLY, "burst": 1}],
        "addresses": {"rows": SLOWLY, "rows_burst": 3},
    }
    async with limited_hub(tmp_path, limits, keys=False) as hub:
        other = QUICK | {"model_name": "other"}
        assert [(await hub.post("/predict", other))[0] for _ in range(4)] == [200, 429, 429, 429]
        for _ in range(3):
            assert (await hub.post("/v2/models/echo/infer", b"{"))[0] == 400
        assert [(await hub.post("/v2/models/echo/infer", TWO_ROWS))[0] for _ in range(2)] == [200, 429]


async def test_addresses_are_those_behind_trusted_proxies_alone(tmp_path: Path) -> None:
    limits = {"addresses": {"rate": SLOWLY, "burst": 1}}

    async def status(hub: Hub, *forwarded: str) -> int:
        headers = {"x-forwarded-for": ", ".join(forwarded)} if forwarded else {}
        return (await hub.post("/predict", QUICK, headers=headers))[0]

    (tmp_path / "trusting").mkdir()
    (tmp_path / "alone").mkdir()
    trusted = ("127.0.0.0/8", "10.0.0.0/8")
    async with limited_hub(tmp_path / "trusting", limits, keys=False, trusted_proxies=trusted) as hub:
        assert await status(hub, "203.0.113.1") == 200
        assert await status(hub, "203.0.113.1") == 429
        assert await status(hub, "198.51.100.9", "203.0.113.1") == 429, "what it says itself does not count"
        assert await status(hub, "203.0.113.2", "10.1.2.3") == 200
        assert await status(hub, "203.0.113.2") == 429
        assert await status(hub, "2001:db8::1") == 200
        assert await status(hub, "2001:db8::2") == 429, "a network of IPv6 is one holder"
        forwarded = {"x-forwarded-for": "203.0.113.7"}
        assert (await over_grpc(hub, forwarded, features("quick", 1.0)))[0] == "OK"
        said = "address 203.0.113.7 may make 0.01 calls a second, and 1 at once"
        assert await over_grpc(hub, forwarded, features("quick", 1.0)) == ("RESOURCE_EXHAUSTED", said)
        assert (await hub.get("/v2/health/ready", headers=forwarded))[0] == 200
        async with Raw(hub.gateway.port) as raw:  # each of two proxies adds a line
            lines = ("x-forwarded-for: 203.0.113.8", "x-forwarded-for: 10.0.0.9")
            body = json.dumps(QUICK).encode()
            assert [(await raw.ask("POST", "/predict", body, *lines)).status for _ in range(2)] == [200, 429]
            own = ("x-forwarded-for: 203.0.113.9", lines[1])
            assert (await raw.ask("POST", "/predict", body, *own)).status == 200
    async with limited_hub(tmp_path / "alone", limits, keys=False) as hub:
        assert await status(hub, "203.0.113.1") == 200
        assert await status(hub, "203.0.113.2") == 429, "anybody may send the header"


async def test_a_body_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    long = QUICK | {"features": [1.0] * 400}
    size = len(json.dumps(long))
    said = f"key 'short' may send 1000 bytes in a request, this one has {size}"
    async with limited_hub(tmp_path, {}) as hub:
        assert (await hub.post("/predict", QUICK, headers=bearer("short")))[0] == 200
        status, answer, _ = await hub.post("/predict", long, headers=bearer("short"))
        assert (status, answer["error"]) == (413, said)
        assert (await hub.post("/predict", long, headers=bearer("red")))[0] == 200
        code, detail = await over_grpc(hub, bearer("short"), features("quick", *[1.0] * 400))
        assert code == "INVALID_ARGUMENT"
        assert detail.startswith("key 'short' may send 1000 bytes in a request, this one has 1")
        key = f"authorization: Bearer {SECRETS['short']}"
        async with Raw(hub.gateway.port) as raw:  # it does not say how long it is
            head = request("POST", "/predict", None, key, "transfer-encoding: chunked")
            await raw.send(head + b"3e9\r\n" + b" " * 1001 + b"\r\n")
            assert (await raw.read()).status == 413
        async with Raw(hub.gateway.port) as raw:
            await raw.send(request("POST", "/predict", b"x" * 1001, key)[:-1001])
            assert (await raw.read()).status == 413
