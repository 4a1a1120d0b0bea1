"""Loads and unloads that have a revision, as gateways send them: each is made once, and in the order of the revisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from inferencehub.core.oip import extension, messages
from inferencehub.core.values.errors import HubError
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import mock_model
from tests.inference.models.control.valued import answer, index, valued
from tests.inference.pod_processes import Pod, calling_pod

Parameter = pb.ModelRepositoryParameter
LATER = "a later load or unload of model 'm' was made meanwhile"


@pytest_asyncio.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    """A pod that does what calls say, with the model m, which answers 1."""
    valued(tmp_path / "models", {"1": "1"})
    mock_model(tmp_path / "models", "quick")
    async with calling_pod(tmp_path / "models", model_control="explicit") as running:
        yield running


async def change(pod: Pod, what: str, revision: Parameter, name: str = "m", **more: Parameter) -> str:
    """A "Load" or an "Unload"; "" or its status code and sentence."""
    call: Any = pod.channel.unary_unary(
        f"/{messages.SERVICE}/RepositoryModel{what}",
        request_serializer=lambda message: message.SerializeToString(),
    )
    kinds = {"Load": pb.RepositoryModelLoadRequest, "Unload": pb.RepositoryModelUnloadRequest}
    try:
        await call(kinds[what](model_name=name, parameters={extension.REVISION: revision, **more}))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return ""


def numbered(revision: int) -> Parameter:
    return Parameter(int64_param=revision)


def edit(pod: Pod, value: str) -> None:
    """Let the next load find another value."""
    (pod.server.models.repository / "m" / "1" / "value.txt").write_text(value)


async def test_a_change_is_made_once_and_none_that_is_older(pod: Pod) -> None:
    assert [await change(pod, "Load", numbered(5)), await answer(pod)] == ["", 1]
    edit(pod, "2")
    assert [await change(pod, "Load", numbered(5)), await answer(pod)] == ["", 1], "it was made"
    assert await change(pod, "Unload", numbered(4)) == f"FAILED_PRECONDITION: {LATER}"
    assert await change(pod, "Load", numbered(4)) == f"FAILED_PRECONDITION: {LATER}"
    assert await answer(pod) == 1
    assert [await change(pod, "Load", numbered(6)), await answer(pod)] == ["", 2]
    assert await change(pod, "Unload", numbered(7)) == ""
    assert await index(pod) == {"1": ("UNAVAILABLE", "it was unloaded")}
    assert await change(pod, "Load", numbered(6)) == f"FAILED_PRECONDITION: {LATER}"
    assert await change(pod, "Load", numbered(1), "quick") == "", "each model has an order of its own"


async def test_gateways_that_tell_at_once_let_it_load_once(pod: Pod) -> None:
    counted = pod.server.models.metrics
    assert await asyncio.gather(*[change(pod, "Load", numbered(2**53)) for _ in range(8)]) == [""] * 8
    assert await answer(pod) == 1
    loads = [
        sample.value
        for family in counted.registry.collect()
        for sample in family.samples
        if sample.name == "inferencehub_inference_model_loads_total" and sample.labels["model"] == "m"
    ]
    assert sum(loads) == 1


async def test_one_that_fails_counts_as_not_made(pod: Pod) -> None:
    assert await change(pod, "Load", numbered(5)) == ""
    edit(pod, "two")
    assert "was not loaded" in await change(pod, "Load", numbered(9))
    edit(pod, "3")
    assert [await change(pod, "Load", numbered(8)), await answer(pod)] == ["", 3]


async def test_the_log_has_a_reason_once_for_each_change(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    edit(pod, "two")

    async def said(number: int | None, reason: str) -> int:
        caplog.clear()
        if number is None:
            with pytest.raises(HubError):
                await pod.server.control.load("m", {})
        else:
            assert reason in await change(pod, "Load", numbered(number))
        lines = [line for line in caplog.records if line.message == "model unavailable"]
        return sum(line.levelno > logging.DEBUG for line in lines)

    assert [await said(9, "'two'"), await said(9, "'two'")] == [1, 0], "gateways try again"
    edit(pod, "three")
    assert [await said(9, "'three'"), await said(9, "'three'")] == [1, 0], "it fails for another reason"
    assert [await said(10, "'three'"), await said(None, ""), await said(None, "")] == [1, 1, 1]


async def test_a_change_without_a_revision_is_made_in_any_case(pod: Pod) -> None:
    await change(pod, "Load", numbered(5))
    call: Any = pod.channel.unary_unary(f"/{messages.SERVICE}/RepositoryModelUnload")
    await call(pb.RepositoryModelUnloadRequest(model_name="m").SerializeToString())
    assert (await index(pod))["1"][0] == "UNAVAILABLE"
    assert await change(pod, "Load", numbered(5)) == "", "gateways do not know of it, and do not undo it"
    assert (await index(pod))["1"][0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "revision", [numbered(0), numbered(-1), Parameter(string_param="5"), Parameter(bool_param=True)]
)
async def test_a_revision_is_a_number(pod: Pod, revision: Parameter) -> None:
    assert "parameter 'hub_revision' is " in (said := await change(pod, "Load", revision))
    assert said.startswith("INVALID_ARGUMENT"), said


async def test_the_pod_says_that_it_knows_revisions(pod: Pod) -> None:
    call: Any = pod.channel.unary_unary(
        f"/{messages.SERVICE}/ServerMetadata", response_deserializer=pb.ServerMetadataResponse.FromString
    )
    assert extension.REVISIONS in (await call(b"")).extensions
