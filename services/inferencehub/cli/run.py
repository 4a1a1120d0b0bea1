"""`inferencehub run`: starts the gateway and inference services on one machine. `make run` uses it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from inferencehub.cli.processes.directories import is_model
from inferencehub.cli.processes.greeting import greet
from inferencehub.cli.processes.numbers import Whole
from inferencehub.cli.processes.ports import Port, ops_port_option, port_option
from inferencehub.cli.processes.rollout import Rollout
from inferencehub.cli.processes.supervisor import Tier
from inferencehub.cli.processes.tiers import tiers


@click.command(context_settings={"show_default": True})
@click.option(
    "--pods", type=Whole(1, 64), default=1, envvar="PODS", show_envvar=True,
    help="Number of inference processes; the gateway spreads requests over them.",
)  # fmt: skip
@port_option
@ops_port_option
@click.option(
    "--reload", is_flag=True,
    help="Load the models anew when a file below DIR is saved, without a lost request; one that does not load is not used.",
)  # fmt: skip
@click.argument(
    "directory",
    metavar="[DIR]",
    required=False,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.pass_obj
def run(
    environ: Mapping[str, str], pods: int, inference_port: int, inference_ops_port: int, reload: bool, directory: Path | None
) -> None:  # fmt: skip
    """Start the gateway and the inference service on this machine.

    DIR is a model, or a repository of models; without it, HUB_MODELS names the repository. Prints a curl command when a model is
    ready. A process that dies is started again. Ctrl-C stops all.

    All other settings are environment variables (PORT, HUB_MODELS, ...). Each of the two services gets its own
    settings; PORT and HUB_OPS_PORT are those of the gateway. Without HUB_JOBS, jobs are kept in a file that is deleted at the end.
    """
    if reload and pods > 1:
        raise click.UsageError(f"--reload has one inference service, got --pods {pods}")
    own = Port(inference_port, "INFERENCE_PORT"), Port(inference_ops_port, "INFERENCE_OPS_PORT")
    with repository(directory) as models, TemporaryDirectory(prefix="inferencehub-") as private:
        environ = {"HUB_JOBS": f"sqlite:{private}/jobs.db", **environ}
        if models:
            environ["HUB_MODELS"] = models
        gateway, inference = tiers(environ, pods, *own, reload)
        code = asyncio.run(serve(gateway, inference))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to end
    sys.exit(code)


@contextmanager
def repository(directory: Path | None) -> Iterator[str]:
    """The repository that a directory is, or, if it is a model, one that has this model alone; "" for None."""
    if directory is None:
        yield ""
    elif not is_model(directory):
        yield str(directory)
    else:
        with TemporaryDirectory(prefix="inferencehub-") as made:
            model = directory.resolve()
            (Path(made) / model.name).symlink_to(model)
            yield made


async def serve(gateway: Tier, inference: list[Tier | Rollout]) -> int:
    """Keep all tiers running until a signal comes or one of them is given up, then stop them.

    Returns:
        The exit code: 0 after a signal, that of the tier that was given up otherwise.
    """
    ended = asyncio.Event()
    every: list[Tier | Rollout] = [gateway, *inference]

    def on_signal() -> None:
        if ended.is_set():  # a second signal: do not wait for running requests
            for tier in every:
                tier.kill()
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    runs = {tier.name: asyncio.ensure_future(tier.keep_running()) for tier in reversed(every)}
    greeting = asyncio.ensure_future(greet(gateway, inference))
    stop = asyncio.ensure_future(ended.wait())
    await asyncio.wait([stop, *runs.values()], return_when=asyncio.FIRST_COMPLETED)
    greeting.cancel()
    ended.set()
    codes = []
    for tiers_now in (every[:1], inference):
        for tier in tiers_now:
            tier.stop()
        codes += await asyncio.gather(*[runs[tier.name] for tier in tiers_now])
    return max(codes)
