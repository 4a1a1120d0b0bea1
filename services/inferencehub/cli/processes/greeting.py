"""What `run` prints once models serve: a curl command that works, and where the pages are."""

from __future__ import annotations

import asyncio
import json
import shlex
import ssl
import sys
from collections.abc import Mapping
from math import prod
from time import monotonic
from typing import Any
from urllib.parse import quote

from inferencehub.cli.processes.rollout import Rollout
from inferencehub.cli.processes.supervisor import Tier, any_certificate, say, until_answers
from inferencehub.core.process.doctor.ask import ask
from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings

READY_WITHIN_S = 120.0
ANSWER_S = 5.0
AGAIN_S = 0.25  # between two looks at the list of models
# Within this time a gateway that has just become ready knows all models, not only the first ones.
SETTLED_S = 2.0
MOST_MODELS = 8  # that are asked for their inputs
MOST_ELEMENTS = 16  # of the inputs of a call that fits on a line
ZEROS = {"BYTES": "text", "BOOL": False}  # an element, where it is not 0
# Calls of models under OpenAI's API: see docs/models.md.
OF_API: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "text"}]}),
    "openai-completion": ("/v1/completions", {"prompt": "text"}),
    "openai-embedding": ("/v1/embeddings", {"input": "text"}),
}


async def greet(gateway: Tier, inference: list[Tier | Rollout]) -> None:
    """Print a curl command when the gateway can reach a ready inference service."""
    port = int(gateway.settings["PORT"])
    tls = any_certificate() if gateway.settings.get("HUB_TLS_CERT") else None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            # The gateway would write a log line for each question that comes too early.
            for tier in [*inference, gateway]:
                await tier.ready.wait()
            await until_answers(port, "/v2/health/ready", tls)
    except TimeoutError:
        say(f"not ready after {READY_WITHIN_S:g} s; the lines above say why")
        return
    url = f"{'http' if tls is None else 'https'}://localhost:{port}"
    curl = "curl -s" if tls is None else "curl -sk"
    if gateway.settings.get("HUB_API_KEYS"):
        curl += ' -H "Authorization: Bearer $KEY"'
    if (read_settings(InferenceSettings, inference[0].settings).repository() / "v1-mock").is_dir():
        path, body = "/predict", '{"features":[0.5,1.2,-3.4],"model_name":"v1-mock"}'
    else:
        path, body = await example(port, tls)
    command = f"{curl} {url}{path}" + (f" -d {shlex.quote(body)}" if body else "")
    sys.stderr.write(f"\nInferenceHub is ready. Try:\n\n  {command}\n\n")
    pages = f"{url}/docs"
    if read_settings(GatewaySettings, gateway.settings).console:
        pages += f" and {url}/console"
    sys.stderr.write(f"Pages: {pages}   Models: {url}/v2/models   Ctrl-C stops it.\n\n")
    sys.stderr.flush()


async def example(port: int, tls: ssl.SSLContext | None) -> tuple[str, str]:
    """The path and the body of a call of the first model for which one can be made; of the list of models if none can.

    Callers with keys have to be known to ask, so it is the list then.

    Args:
        port: of the gateway.
        tls: as in `ask`.
    """

    async def page(path: str) -> Any:
        told = await ask("localhost", port, path, tls, ANSWER_S)
        if told.status in (401, 403):
            raise PermissionError
        if told.status != 200:
            raise ValueError(f"status {told.status}")
        return json.loads(told.body)

    asked: set[str] = set()
    latest = monotonic() + SETTLED_S
    while True:
        try:
            models = (await page("/v2/models"))["models"]
            names = [one["name"] for one in models if one["state"] == "READY" and one["name"] not in asked]
            for name in names[: MOST_MODELS - len(asked)]:
                at = f"/v2/models/{quote(name, safe='')}"
                if call := call_of(name, await page(at), await page(f"{at}/config")):
                    path, body = call
                    return path, json.dumps(body, separators=(",", ":"))
                asked.add(name)
        except PermissionError:
            return "/v2/models", ""
        except (OSError, ValueError, KeyError):
            pass  # it says why elsewhere
        if monotonic() > latest:
            return "/v2/models", ""
        await asyncio.sleep(AGAIN_S)


def call_of(
    name: str, model: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The path and the body of a call, filled in as on the page /docs: one row, zeros, a short text, 1 for a dimension of any size.

    Args:
        name: of the model.
        model, config: its metadata and its config, as `/v2/models/NAME` and `…/config` have them.

    Returns:
        The call; None if it is too long for a line, or would not be answered: by a model with several answers, or whose warm-up
        reads a file, because no short text is one.
    """
    api = config.get("parameters", {}).get("api", {}).get("string_value", "")
    if api in OF_API:
        path, body = OF_API[api]
        return path, {"model": name, **body}
    several = config.get("model_transaction_policy", {}).get("decoupled", False)
    warm_ups = [one for trial in config.get("model_warmup", ()) for one in trial.get("inputs", {}).values()]
    if several or any("input_data_file" in one for one in warm_ups):
        return None
    optional = {one["name"] for one in config.get("input", ()) if one.get("optional")}
    inputs, elements = [], 0
    for one in model["inputs"]:
        if one["name"] in optional:
            continue
        shape = [max(size, 1) for size in one["shape"]]
        elements += prod(shape)
        if one["datatype"] == "BF16" or elements > MOST_ELEMENTS:  # JSON has no BF16
            return None
        tensor = {"name": one["name"], "datatype": one["datatype"], "shape": shape}
        inputs.append({**tensor, "data": [ZEROS.get(one["datatype"], 0)] * prod(shape)})
    return (f"/v2/models/{quote(name, safe='')}/infer", {"inputs": inputs}) if inputs else None
