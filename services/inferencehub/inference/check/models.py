"""Loads the models of a directory one after the other, with the code of a pod, and calls each through its lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import monotonic

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import AnswerQueue
from inferencehub.core.oip.ensembles.fit import misfit
from inferencehub.core.oip.ensembles.steps import PLATFORM, Step, steps_of
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import Signature
from inferencehub.inference.check.example import example
from inferencehub.inference.check.memory import cpu_s, memory_bytes
from inferencehub.inference.check.others import OtherModels
from inferencehub.inference.check.reasons import Reasons
from inferencehub.inference.check.report import CheckReport, ModelReport, described
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.model import Model
from inferencehub.inference.models.repository import Found, is_version, read, scan
from inferencehub.inference.runtimes.runtime import ProcessRules
from inferencehub.inference.settings import InferenceSettings


async def check(directory: Path, settings: InferenceSettings, measure_s: float) -> CheckReport:
    """Load and call all models of a directory.

    Args:
        directory: a model, or a repository of models.
        settings: those of a pod.
        measure_s: seconds for which each model is called again, to see its CPU; 0 for a single call.

    Raises:
        HubError: BAD_INPUT if it is no directory.
    """
    found = await asyncio.to_thread(found_in, directory)
    metrics, budget = Metrics(), ByteBudget(settings.queue_bytes)
    report = CheckReport(str(directory), [])
    loaded = []
    try:
        for one in found:
            others = OtherModels()
            rules = ProcessRules.of(settings, others)
            model = Model(one.ruled(rules), budget, metrics.lane(one.name, one.version), lambda: None)
            loaded.append(model)
            report.models.append(await checked(model, others, settings.time_limits.default_s, measure_s))
        check_steps(loaded, report.models)
        report.memory_bytes = memory_bytes()
    finally:
        for model in loaded:
            await model.unload()
    return report


def found_in(directory: Path) -> list[Found]:
    """The model versions of a directory that are to be served.

    Raises:
        HubError: BAD_INPUT if it is no directory.
    """
    directory = directory.resolve()  # "." has a name then, which is the model's
    return read(directory) if is_model(directory) else scan(directory)


def is_model(directory: Path) -> bool:
    """Whether a directory is itself a model: it has a config, or versions."""
    if (directory / "config.pbtxt").exists():
        return True
    return directory.is_dir() and any(is_version(child.name) for child in directory.iterdir())


def versions_of(directory: Path) -> list[str]:
    """The version directories of a model."""
    return sorted((one.name for one in directory.iterdir() if is_version(one.name)), key=int)


async def checked(model: Model, others: OtherModels, limit_s: float, measure_s: float) -> ModelReport:
    """Load a model, call it, and say what was found. What fails becomes the report's `fault`.

    Args:
        model: the model, whose calls of other models go to `others`.
        others: notes them.
        limit_s: seconds that its call may take.
        measure_s: as in `check`.
    """
    report = ModelReport(name=model.name, version=model.version, backend=model.found.runtime)
    with Reasons() as reasons:
        await found_out(report, model, others, limit_s, measure_s)
    report.fault = reasons.told(report.fault)
    return report


async def found_out(
    report: ModelReport, model: Model, others: OtherModels, limit_s: float, measure_s: float
) -> None:
    """As `checked`, into a report."""
    began = monotonic()
    await model.load()
    source = model.found.source
    if model.lane is None or source is None:
        report.fault = f"it does not load: {model.reason}"
        return
    info, signature = model.info, model.info.signature
    report.load_s = monotonic() - began
    report.inputs = [described(spec) for spec in signature.inputs]
    report.outputs = [described(spec) for spec in signature.outputs]
    report.max_batch_size, report.decoupled = signature.max_batch_size, signature.decoupled
    report.instances, report.parameters = info.slots, dict(info.parameters)
    report.versions = versions_of(source.directory.parent)
    report.predict, report.written = info.no_predict, model.runtime.written
    if model.found.runtime == PLATFORM:
        report.ok = True  # gateways run its steps; see `check_steps`
        return
    others.asked.clear()  # by its warm-up
    try:
        request, report.called_with = example(source, info)
        began = monotonic()
        async for answer in answers(model, request, limit_s):
            report.answered = report.answered or [described(tensor) for tensor in answer.outputs]
            report.answers += 1
        report.call_s = monotonic() - began
    except HubError as error:
        if others.asked:
            report.ok, report.asks = True, others.asked
            return
        said = f"the call with {report.called_with}" if report.called_with else "its warm-up"
        hint = (
            ""
            if source.config.model_warmup
            else "; model_warmup in config.pbtxt can name a request that fits"
        )
        report.fault = f"{said} failed: {error.detail}{hint}"
        return
    report.ok = True
    if not report.predict:
        try:
            report.prediction = read_prediction(info, answer)
        except HubError as error:
            report.predict = error.detail
    await measure(report, model, request, limit_s, measure_s)


def check_steps(models: Sequence[Model], reports: Sequence[ModelReport]) -> None:
    """Give the ensembles whose steps don't fit a `fault`, as gateways do.

    Args:
        models: all that were to load. A step whose model is not among them is not looked at: another pool may have it.
        reports: on each of them.
    """

    def signatures_of(step: Step) -> Sequence[Signature] | str | None:
        there = [one for one in models if one.name == step.model and step.version in ("", one.version)]
        if not there:
            return None
        newest = max(there, key=lambda one: int(one.version or 0))
        return "the model does not load" if newest.lane is None else [newest.info.signature]

    for model, report in zip(models, reports, strict=True):
        if report.ok and model.found.runtime == PLATFORM and model.found.source is not None:
            steps = steps_of(model.found.source.config)
            report.fault = misfit(steps, model.info.signature, signatures_of)
            report.ok = not report.fault


async def measure(
    report: ModelReport, model: Model, request: InferRequest, limit_s: float, measure_s: float
) -> None:
    """Call it again and again for so many seconds, one call at a time, and note its time and its CPU."""
    began, used = monotonic(), cpu_s()
    while (took := monotonic() - began) < measure_s:
        async for _ in answers(model, request, limit_s):
            pass
        report.calls += 1
    if report.calls:
        report.then_s, report.cores = took / report.calls, (cpu_s() - used) / took


async def answers(model: Model, request: InferRequest, limit_s: float) -> AsyncIterator[InferResponse]:
    """The answers to a request, which goes through the model's lane as a call does.

    Raises:
        HubError: if the call fails.
    """
    lane, now = model.lane_to_run(), monotonic()
    request, rows = model.info.signature.check(request)
    job = Job(request, rows, (Member(rows, now + limit_s, "check"),), now)
    sink = AnswerQueue()
    lane.accept(job, sink)
    while (got := await sink.next()) is not None:
        if isinstance(got, InferResponse):
            yield got
            return
        response, weight = got
        if job.credit is not None:
            job.credit(weight)
        yield response
