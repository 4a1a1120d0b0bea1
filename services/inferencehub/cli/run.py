"""`inferencehub run`: starts the gateway and the inference service on one machine. `make run` uses it."""

from __future__ import annotations

import asyncio
import signal
import sys
import urllib.request
from collections.abc import Mapping

import click

from inferencehub.core.process.settings import PREFIX, read_settings, refuse_unknown, variables
from inferencehub.gateway.settings import GatewaySettings
from inferencehub.inference.settings import InferenceSettings

READY_WITHIN_S = 120.0
PORT = click.IntRange(1, 65535)
# The services are on this machine: http_proxy in the environment is for others.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@click.command(context_settings={"show_default": True})
@click.option("--inference-port", type=PORT, default=50051, help="gRPC port of the inference service.")
@click.option("--inference-ops-port", type=PORT, default=9091, help="Its port for metrics and probes.")
@click.pass_obj
def run(environ: Mapping[str, str], inference_port: int, inference_ops_port: int) -> None:
    """Start the gateway and the inference service on this machine.

    Prints a curl command when a model is ready. Ctrl-C stops both.

    All other settings are environment variables (PORT, HUB_MODELS, ...). Each of the two services gets its own
    settings; PORT and HUB_OPS_PORT are those of the gateway.
    """
    gateway, inference = environs(environ, inference_port, inference_ops_port)
    sys.exit(asyncio.run(serve(gateway, inference)))


def environs(environ: Mapping[str, str], port: int, ops_port: int) -> tuple[dict[str, str], dict[str, str]]:
    """Split one environment into the environments of the gateway and of the inference service.

    Args:
        environ: the settings of both tiers.
        port, ops_port: ports of the inference service.

    Raises:
        SettingError: if a setting is unknown to both tiers or has an invalid value.
    """
    gateway_names = [name for name, _ in variables(GatewaySettings)]
    inference_names = [name for name, _ in variables(InferenceSettings)]
    refuse_unknown(environ, [*gateway_names, *inference_names])
    defaults = {"HUB_LOG_FORMAT": "human", "HUB_DRAIN_WAIT_S": "0"}
    base = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}

    def mine(names: list[str]) -> dict[str, str]:
        return {**base, **defaults, **{name: environ[name] for name in names if name in environ}}

    gateway = {"GRPC_SERVER_URL": f"127.0.0.1:{port}", **mine(gateway_names)}
    inference = {**mine(inference_names), "PORT": str(port), "HUB_OPS_PORT": str(ops_port)}
    read_settings(GatewaySettings, gateway)
    read_settings(InferenceSettings, inference)
    return gateway, inference


async def serve(gateway: Mapping[str, str], inference: Mapping[str, str]) -> int:
    """Start both tiers, wait until a signal comes or one of them ends, then stop both.

    Args:
        gateway, inference: the environments of the two processes.

    Returns:
        The exit code: 0 after a signal, 1 if a tier ended by itself.
    """
    ended = asyncio.Event()
    children: list[asyncio.subprocess.Process] = []

    def on_signal() -> None:
        if ended.is_set():  # a second signal: do not wait for running requests
            for child in children:
                if child.returncode is None:
                    child.send_signal(signal.SIGINT)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    # Each tier has its own session. So a Ctrl-C reaches only this process, which then stops the tiers in order.
    for tier, environ in (("inference", inference), ("gateway", gateway)):
        command = (sys.executable, "-m", f"inferencehub.{tier}")
        children.append(await asyncio.create_subprocess_exec(*command, env=environ, start_new_session=True))
    url = f"http://localhost:{gateway.get('PORT', '3000')}"
    greeting = asyncio.ensure_future(greet(url, inference["HUB_OPS_PORT"]))
    waits = [asyncio.ensure_future(child.wait()) for child in children]
    stop = asyncio.ensure_future(ended.wait())
    await asyncio.wait([stop, *waits], return_when=asyncio.FIRST_COMPLETED)
    greeting.cancel()
    for child, wait in reversed(list(zip(children, waits, strict=True))):
        if child.returncode is None:
            child.send_signal(signal.SIGINT)
        await wait
    return 0 if ended.is_set() else 1


async def greet(url: str, inference_ops_port: str) -> None:
    """Print a curl command when the gateway at `url` can reach a ready inference service."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + READY_WITHIN_S
    # Ask the inference service first. The gateway would write a log line for each question that comes too early.
    pages = [f"http://localhost:{inference_ops_port}/readyz", f"{url}/v2/health/ready"]
    while loop.time() < ends:
        if await asyncio.to_thread(answers, pages[0]):
            del pages[0]
        if not pages:
            body = '{"features":[0.5,1.2,-3.4],"model_name":"v1-mock"}'
            sys.stderr.write(f"\nInferenceHub is ready. Try:\n\n  curl -s {url}/predict -d '{body}'\n\n")
            sys.stderr.write(f"Pages: {url}/docs   Models: {url}/v2/models   Ctrl-C stops it.\n\n")
            return
        await asyncio.sleep(0.1)
    sys.stderr.write(f"inferencehub: not ready after {READY_WITHIN_S:g} s; the lines above say why\n")


def answers(url: str) -> bool:
    """Whether a GET of `url` gets status 200."""
    try:
        with DIRECT.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
