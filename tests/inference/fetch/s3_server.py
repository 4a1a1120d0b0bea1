"""A real server of the S3 protocol for tests: versitygw, whose objects are files of a directory."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session

from tests.ports import free_port
from tests.programs import versitygw

KEY, SECRET = "AKIDEXAMPLE", "secret-of-the-tests"


class S3Server:
    """A server that runs.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.environ = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self.client: Any = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.environ["AWS_ENDPOINT_URL"],
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 1}),
        )

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        """Make a bucket with these objects."""
        self.client.create_bucket(Bucket=bucket)
        for key, content in files.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=content)


@asynccontextmanager
async def running_s3(directory: Path) -> AsyncIterator[S3Server]:
    """A server that runs on a directory and has no bucket yet."""
    program = await asyncio.to_thread(versitygw)
    root, side, port = directory / "objects", directory / "side", free_port()
    root.mkdir()
    side.mkdir()
    listens = ("--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--quiet")
    command = (program, *listens, "posix", "--sidecar", str(side), str(root))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    server = S3Server(port)
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(answers, server.client):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def answers(client: Any) -> bool:
    """Whether the server answers."""
    try:
        client.list_buckets()
    except botocore.exceptions.BotoCoreError:
        return False
    return True
