"""Changes of the file of API keys, while the gateway runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.gateway.keyed_hub import CALLS, ENTRIES, KEYS, bearer, entry, hub_with_keys
from tests.hub import eventually


def write(file: Path, text: str) -> None:
    """Change the file of keys."""
    file.write_text(text)


@pytest.mark.long
async def test_changes_of_the_file_take_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys.json"
    async with hub_with_keys(tmp_path) as hub:

        async def status(name: str) -> int:
            return (await hub.post("/predict", CALLS["/predict"], headers=bearer(name)))[0]

        async def until(name: str, wanted: int) -> None:
            for _ in range(600):
                if await status(name) == wanted:
                    return
                await asyncio.sleep(0.05)
            pytest.fail(f"key '{name}' does not get {wanted}")

        assert (await status("later"), await status("all")) == (401, 200)
        write(file, json.dumps({"keys": [*ENTRIES, entry("later")]}))
        await until("later", 200)
        write(file, '{"keys": [{"id": "later"}]}')  # half written, or a mistake
        await eventually(lambda: [one for one in caplog.records if "stay in use" in one.getMessage()])
        (record,) = [one for one in caplog.records if "stay in use" in one.getMessage()]
        assert "must have either sha256 or certificate" in vars(record)["reason"]
        assert (await status("later"), await status("all")) == (200, 200)
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reload_refused{setting="HUB_API_KEYS"} 1.0' in metrics
        assert 'inferencehub_gateway_reloads_total{setting="HUB_API_KEYS"} 1.0' in metrics
        write(file, json.dumps({"keys": [entry("later")]}))
        await until("all", 401)
        assert await status("later") == 200
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reload_refused{setting="HUB_API_KEYS"} 0.0' in metrics
        assert not any(KEYS["later"] in str(vars(one)) for one in caplog.records)
