"""`helm test`: the commands of its pod run against a real hub, and fail if an answer is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.chart.rendering import at, environ, one, render
from tests.hub import MODELS, running_hub
from tests.ports import free_port


async def run(url: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of the test's program, as the chart renders it."""
    spec = one(render(), "Pod", "-test")["spec"]
    command, (program,) = spec["containers"][0]["command"], spec["containers"][0]["args"]
    assert command == ["/opt/venv/bin/python", "-c"]
    env = {"PATH": os.environ["PATH"], **environ(spec), **environment, "URL": url}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    return child.returncode or 0, output.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The model that the example asks, without the others, which take time to load."""
    (tmp_path / "v1-mock").symlink_to(MODELS / "v1-mock")
    return tmp_path


async def test_the_example_is_answered(repository: Path) -> None:
    async with running_hub(repository) as hub:
        code, output = await run(hub.url)
    assert (code, output.count("class_id")) == (0, 1)


async def test_a_proxy_in_the_environment_is_not_asked(repository: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with running_hub(repository) as hub:
        code, output = await run(hub.url, http_proxy=nobody, HTTP_PROXY=nobody, ALL_PROXY=nobody)
    assert (code, output.count("class_id")) == (0, 1)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CLASS_ID": "7"}, "expected class_id 7"),
        ({"BODY": '{"features":[1],"model_name":"gone"}'}, "answered 404"),
    ],
)
async def test_a_wrong_answer_fails(environment: dict[str, str], said: str, repository: Path) -> None:
    async with running_hub(repository) as hub:
        code, output = await run(hub.url, **environment)
    assert code == 1
    assert said in output


def test_it_is_a_hook_that_leaves_nothing_and_asks_through_the_service() -> None:
    objects = render(at("gateway.service.port", 80))
    pod, service = one(objects, "Pod", "-test"), one(objects, "Service", "gateway")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert environ(pod["spec"])["URL"] == f"http://{service['metadata']['name']}:80"
    gateway = one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    assert pod["spec"]["containers"][0]["image"] == gateway["image"]
    assert "CLASS_ID" not in environ(one(render(at("example.classId", None)), "Pod", "-test")["spec"])
