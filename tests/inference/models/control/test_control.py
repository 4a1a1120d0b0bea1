"""The ways of control go on, whatever a look at the repository meets."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from tests.hub import eventually, mock_model
from tests.inference.pod_processes import calling_pod
from tests.threads import no_new_threads


@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
async def test_a_repository_that_is_away_at_the_start_is_loaded_once_it_is_back(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    models, away = tmp_path / "models", tmp_path / "away"
    mock_model(models, "quick")
    at_start = ("*",) if mode == "explicit" else ()
    settings = InferenceSettings(
        port=0, ops_port=0, models=str(models), model_control=mode, load_models=at_start
    )
    server = InferenceServer(settings)
    models.rename(away)
    await server.start()
    try:
        await eventually(lambda: "models can't be loaded" in caplog.text)
        assert server.not_ready() == "models are being loaded"
        away.rename(models)
        await server.loaded()
        assert server.models.serves("quick")
        assert server.not_ready() == ""
    finally:
        await server.stop()


@pytest.mark.parametrize("mode", ["poll", "explicit"])
async def test_looks_at_the_repository_go_on_after_one_had_no_thread(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    mock_model(tmp_path, "quick")
    async with calling_pod(tmp_path, model_control=mode, repository_poll_s=0.05) as pod:
        with no_new_threads():
            # None that has started before.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
            await eventually(lambda: "can't start new thread" in caplog.text)
        mock_model(tmp_path, "later")
        await eventually(lambda: "later" in pod.server.models.names())
