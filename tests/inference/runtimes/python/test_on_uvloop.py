"""Python models on uvloop, the event loop of the services; the other tests run on that of asyncio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from tests.inference.runtimes.python import test_crashes, test_loading, test_runtime


@pytest.mark.long
@pytest.mark.parametrize(
    "scenario",
    [
        test_runtime.test_answers_over_calls_of_all_sizes,
        test_crashes.test_a_crash_costs_its_own_call_and_the_instance_comes_back,
        test_crashes.test_a_kill_while_it_runs_is_told_at_once,
        test_crashes.test_a_kill_while_idle_is_noticed_and_repaired,
        test_crashes.test_a_call_that_meets_a_dead_process_waits_for_the_next,
        test_crashes.test_a_cancelled_call_ends_with_its_work,
        test_loading.test_an_unload_ends_what_waits_for_recovery,
        test_loading.test_a_load_can_be_cancelled_at_any_step,
        test_loading.test_unload_lets_the_model_close_and_ends_its_children,
    ],
    ids=lambda scenario: scenario.__name__.removeprefix("test_"),
)
def test_on_uvloop_too(tmp_path: Path, scenario: Callable[[Path], Coroutine[None, None, None]]) -> None:
    uvloop.run(scenario(tmp_path))
