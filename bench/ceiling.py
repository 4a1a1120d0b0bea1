"""How near the throughput of a model that only waits comes to what its slots allow: `python -m bench.ceiling`.

Slots divided by delay is the ceiling; what is missing is time in which a slot stood empty while requests waited. The
clients begin one after another over the time that all slots take to turn once, so that answers come evenly and the
window's edges cut off nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvloop

from bench.load import Load
from bench.samples import samples_of
from bench.stack import mock_config, running_stack

GOAL = 0.98
WARM_UP_S = 2.0


async def main() -> int:
    """One run; exit code 1 below the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling", description=__doc__)
    parser.add_argument("--slots", type=int, default=100, help="instances of the model (%(default)s)")
    parser.add_argument("--delay-ms", type=float, default=500.0, help="how long each run takes (%(default)s)")
    parser.add_argument("--clients", type=int, default=200, help="closed-loop clients (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the window (%(default)s)")
    parser.add_argument("--pin", action="store_true", help="both tiers on core 0, the clients on core 1")
    options = parser.parse_args()
    delay_s = options.delay_ms / 1000
    ceiling = options.slots / delay_s
    more = {"waits": mock_config(options.delay_ms, options.slots)}
    with running_stack(more, options.pin) as stack:
        await stack.until_ready("waits")
        samples = await samples_of(stack, "waits")
        load = Load(stack.host, stack.port, samples, options.clients)
        ramp_s = delay_s * options.clients / options.slots
        result = await load.run(WARM_UP_S, options.seconds, stack.cpu_seconds, "ceiling", ramp_s)
        await asyncio.sleep(delay_s)
    share = result.rate / ceiling
    lost_ms = (ceiling / result.rate - 1) * options.delay_ms if result.rate else float("inf")
    print(
        f"{result.rate:.1f} of {ceiling:.1f} requests/s: {share:.2%} of the ceiling (goal {GOAL:.0%}); a slot stood "
        f"empty for {lost_ms:.1f} ms a turn"
    )
    print(
        f"p50 {result.ms(0.5):.0f} ms, p99 {result.ms(0.99):.0f} ms, errors {dict(result.errors) or 'none'}, "
        f"cpu of gateway, pod and load {', '.join(f'{one:.0%}' for one in result.cpu)}"
    )
    return 0 if share >= GOAL and not result.errors else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
