"""`inferencehub doctor`: says what is wrong with the processes on this machine, or with one that a URL names."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import click

from inferencehub.cli.processes.ports import ops_port_option, port_option
from inferencehub.cli.processes.tiers import settings_of
from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.doctor.command import found_here, show, told_by, why
from inferencehub.core.process.doctor.finding import fault
from inferencehub.core.process.settings import ProcessSettings, read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings


@click.command(context_settings={"show_default": True})
@click.option(
    "--url", default="", show_default=False,
    help="An ops port, such as http://localhost:9090; without it, those of the gateway and the inference service of "
    "`inferencehub run`.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each process.")
@port_option
@ops_port_option
@click.pass_obj
def doctor(
    environ: Mapping[str, str], url: str, as_json: bool, inference_port: int, inference_ops_port: int
) -> None:
    """Say what is wrong, and how to repair it; exit with 1 if there is a fault.

    Each process is asked at its ops port. Where it does not answer, its settings and files are looked at.
    """
    if url:
        sys.exit(ask_one(environ, url, as_json))
    back = {"PORT": str(inference_port), "HUB_OPS_PORT": str(inference_ops_port)}
    front = {"GRPC_SERVER_URL": f"127.0.0.1:{inference_port}", **settings_of(GatewaySettings, environ)}
    back = {**settings_of(InferenceSettings, environ), **back}
    codes = [asyncio.run(ask_tier(*one, as_json)) for one in (("gateway", front), ("inference", back))]
    sys.exit(max(codes))


def ask_one(environ: Mapping[str, str], url: str, as_json: bool) -> int:
    """Ask one ops port, with the certificate that HUB_OPS_TLS_CERT names, if it speaks TLS."""
    try:
        settings = read_settings(ProcessSettings, settings_of(ProcessSettings, environ))
        certificate = settings.ops_certificate()
        report = asyncio.run(told_by(url, None if certificate is None else certificate.asking))
    except (OSError, ValueError, BadFile) as error:
        fix = "Does it run, and is that its ops port? A port-forward leads there: kubectl port-forward POD 9090."
        report = found_here("process", [fault("process", f"{url} does not answer: {why(error)}", fix)])
    return show([report], as_json)


async def ask_tier(tier: str, environ: Mapping[str, str], as_json: bool) -> int:
    """Run the command of a tier with these settings; its exit code."""
    arguments = ("-m", f"inferencehub.{tier}", "doctor", *(["--json"] if as_json else []))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=dict(environ))
    return await process.wait()
