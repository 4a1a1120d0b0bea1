"""What an init container runs, as a process: models come, are served, stay, and what fails says so in one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from inferencehub.inference.fetch.command import quantity
from tests.authority import Authority
from tests.hub import MODELS, running_hub
from tests.inference.fetch.fetching import MODEL, files_of, run_fetch, sha256, tar
from tests.inference.fetch.model_server import running_server


async def test_a_repository_is_fetched_and_served(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served/models.tar.gz", "w:gz") as archive:
        archive.add(MODELS / "v1-mock", "v1-mock")
    packed = (tmp_path / "served/models.tar.gz").read_bytes()
    async with running_server(tmp_path / "served") as server:
        uri = f"{server.url}/models.tar.gz#sha256={sha256(packed)}"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a", "--log-format", "json")
    assert ended.code == 0
    events = [json.loads(line) for line in ended.log.splitlines()]
    assert [line["event"] for line in events] == ["fetching models", "models were fetched"]
    async with running_hub(tmp_path / "models/a") as hub:
        body = json.dumps({"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"})
        status, answer, _ = await hub.post("/predict", body.encode())
    assert (status, answer["error"]) == (200, "")


async def test_one_file_becomes_a_model(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    shutil.copy(MODELS / "digits/1/model.onnx", served / "digits-v3.onnx")
    content = (served / "digits-v3.onnx").read_bytes()
    async with running_server(served) as server:
        uri = f"{server.url}/digits-v3.onnx#sha256={sha256(content)}&model=numbers&version=3"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a")
    assert ended.code == 0, ended.log
    async with running_hub(tmp_path / "models/a") as hub:
        status, answer, _ = await hub.get("/v2/models/numbers")
    assert (status, answer["versions"]) == (200, ["3"])


async def test_a_directory_with_other_models_is_not_taken_for_what_was_asked(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "models.tar").write_bytes(packed := tar(MODEL))
    (served / "others.tar").write_bytes(packed)
    async with running_server(served) as server:
        right, wrong = sha256(packed), sha256(b"")

        async def fetched(name: str) -> tuple[int | None, str]:
            ended = await run_fetch(f"{server.url}/{name}", "--into", tmp_path / "models/a")
            return ended.code, ended.log

        assert (await fetched(f"models.tar#sha256={right}"))[0] == 0
        for other in (f"models.tar#sha256={wrong}", f"others.tar#sha256={right}"):
            code, log = await fetched(other)
            assert (code, f"has the models of {server.url}/models.tar with the sha256 {right}" in log) == (
                1,
                True,
            ), log
    assert files_of(tmp_path / "models/a").items() >= MODEL.items()


async def test_an_archive_of_one_model_needs_its_name(tmp_path: Path) -> None:
    files = {name.removeprefix("echo/"): content for name, content in MODEL.items()}
    (tmp_path / "echo-1.2.tgz").write_bytes(tar(files))
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/echo-1.2.tgz#sha256={sha256((tmp_path / 'echo-1.2.tgz').read_bytes())}"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a", "--message", tmp_path / "message")
        assert ended.code == 1
        assert "add '#model=NAME' or '&model=NAME'" in (tmp_path / "message").read_text()
        ended = await run_fetch(f"{uri}&model=echo", "--into", tmp_path / "models/a")
    assert ended.code == 0
    assert files_of(tmp_path / "models/a") == MODEL


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"readme.txt": b""}, "expected <model>/<version>/<file>, and it has nothing"),
        ({"repo-1.0/echo/1/model.py": b""}, "expected <model>/<version>/<file>, and it has repo-1.0/echo"),
    ],
)
async def test_an_archive_without_models_is_refused(
    tmp_path: Path, files: dict[str, bytes], says: str
) -> None:
    (tmp_path / "x.tgz").write_bytes(tar(files))
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/x.tgz#sha256={sha256((tmp_path / 'x.tgz').read_bytes())}"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a")
    assert ended.code == 1
    assert says in ended.log


async def test_a_failure_is_one_sentence_for_the_pod(tmp_path: Path) -> None:
    message = tmp_path / "termination-log"
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/none.zip?signature=secret#sha256={'0' * 64}"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a", "--message", message)
        said = f"The models cannot be fetched: {server.url}/none.zip answers 404 Not Found."
    assert (ended.code, message.read_text()) == (1, said)
    assert ended.log.count(said) == 1
    assert "secret" not in ended.log
    assert "Traceback" not in ended.log


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({"FETCH_TOKEN": "t"}, "Bearer t"),
        ({"FETCH_USERNAME": "me", "FETCH_PASSWORD": "p"}, "Basic bWU6cA=="),
        ({}, None),
    ],
)
async def test_credentials_come_from_the_environment(
    tmp_path: Path, environ: dict[str, str], header: str | None
) -> None:
    (tmp_path / "x.tgz").write_bytes(tar(MODEL))
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/x.tgz#sha256={sha256((tmp_path / 'x.tgz').read_bytes())}"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a", **environ)
        (request,) = server.requests
    assert ended.code == 0
    assert request.headers.get("authorization") == header


async def test_half_of_the_credentials_are_refused(tmp_path: Path) -> None:
    ended = await run_fetch("https://localhost/x.zip", "--into", tmp_path / "a", FETCH_USERNAME="me")
    assert ended.code == 1
    assert "FETCH_USERNAME and FETCH_PASSWORD belong together" in ended.log


@pytest.mark.long
async def test_https_trusts_the_authorities_that_it_is_given_and_no_others(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "models")
    served = tmp_path / "served"
    served.mkdir()
    (served / "x.tgz").write_bytes(tar(MODEL))
    async with running_server(served, authority.signed("models.example.com")) as server:
        uri = f"{server.url}/x.tgz"
        ended = await run_fetch(uri, "--into", tmp_path / "models/a")
        assert ended.code == 1
        assert "shows a certificate that is not trusted" in ended.log
        ended = await run_fetch(
            uri, "--into", tmp_path / "models/a", SSL_CERT_FILE=str(authority.certificate)
        )
        assert ended.code == 0, ended.log

        async def in_plain(request: Request) -> Response:
            return Response(status_code=302, headers={"location": "http://127.0.0.1:1/x.tgz"})

        server.next_answers = [in_plain]
        ended = await run_fetch(
            uri, "--into", tmp_path / "models/b", SSL_CERT_FILE=str(authority.certificate)
        )
    assert ended.code == 1
    assert "redirects to http://127.0.0.1:1/x.tgz, expected https" in ended.log
    assert files_of(tmp_path / "models/a") == MODEL


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let processes that start meanwhile write no file larger than this, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_no_more_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar(MODEL, "w"))
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/x.tar#sha256={sha256((tmp_path / 'x.tar').read_bytes())}"
        with largest_file(100_000):
            ended = await run_fetch(uri, "--into", tmp_path / "models/a")
    assert ended.code == 1
    assert "cannot be written: File too large" in ended.log
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.long
async def test_the_last_repositories_that_were_used_stay(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(tar(MODEL))
    volume = tmp_path / "volume"
    dead = volume / ".z.pod-1.1.fetching"
    dead.mkdir(parents=True)
    os.utime(dead, (0, 0))
    alive = volume / ".y.pod-2.1.fetching"
    alive.mkdir()
    (volume / ".snapshots").mkdir()
    os.utime(volume / ".snapshots", (0, 0))
    async with running_server(tmp_path) as server:
        uri = f"{server.url}/x.tgz#sha256={sha256((tmp_path / 'x.tgz').read_bytes())}"
        for number, name in enumerate(("a", "b", "c", "a", "d")):
            assert (await run_fetch(uri, "--into", volume / name, "--keep", "3")).code == 0
            os.utime(volume / name, (1000 + number, 1000 + number))
    assert sorted(one.name for one in volume.iterdir()) == [".snapshots", alive.name, "a", "c", "d"]


async def test_a_pod_that_is_deleted_meanwhile_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def slow(request: Request) -> Response:
        asked.set()
        await asyncio.sleep(10)
        return Response()

    async with running_server(tmp_path) as server:
        server.next_answers = [slow]
        arguments = (f"{server.url}/x.zip#sha256={'0' * 64}", "--into", str(tmp_path / "models/a"))
        command = (sys.executable, "-m", "inferencehub.inference", "fetch", *arguments)
        process = await asyncio.create_subprocess_exec(*command)
        async with asyncio.timeout(20):
            await asked.wait()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 143
    assert list((tmp_path / "models").iterdir()) == []


async def test_it_prints_the_checksum_of_a_file_and_of_a_tree(tmp_path: Path) -> None:
    for name, content in MODEL.items():
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    shell = "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    process = await asyncio.create_subprocess_shell(
        shell, cwd=tmp_path / "tree", stdout=asyncio.subprocess.PIPE
    )
    by_shell, _ = await process.communicate()
    ended = await run_fetch("--sha256-of", tmp_path / "tree")
    assert (ended.code, ended.printed.strip()) == (0, by_shell.decode().split()[0])
    ended = await run_fetch("--sha256-of", tmp_path / "tree/echo/config.pbtxt")
    assert ended.printed.strip() == sha256(MODEL["echo/config.pbtxt"])
    ended = await run_fetch("--sha256-of", tmp_path / "none")
    assert (ended.code, ended.printed) == (1, "")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10Gi", 10 * 2**30), ("1.5Gi", 3 * 2**29), ("1.073741824e+10", 10 * 2**30), ("2P", 2 * 10**15), ("1E", 10**18),
        ("1Ei", 2**60), ("2k", 2000), ("1500m", 1), ("0", 0),
    ],
)  # fmt: skip
def test_sizes_are_those_of_kubernetes(text: str, size: int) -> None:
    assert quantity(text) == size


@pytest.mark.parametrize(
    ("arguments", "says"), [((), "expected a URI and --into"), (("--size", "big"), "'big' is no size")]
)
async def test_wrong_arguments_are_refused(arguments: tuple[str, ...], says: str) -> None:
    ended = await run_fetch(*arguments)
    assert ended.code == 2
    assert says in ended.log
