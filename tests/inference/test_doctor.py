"""What the doctor of an inference service says, and what the command finds where the service did not start."""

from __future__ import annotations

from pathlib import Path

from inferencehub.core.process.doctor.finding import Level
from inferencehub.inference.doctor.absent import of_repository
from inferencehub.inference.doctor.checks import of_readiness
from inferencehub.inference.fetch.mark import MARK, write_mark
from inferencehub.inference.settings import InferenceSettings
from tests.doctors import faults, one, report_at
from tests.hub import mock_model, running_pod, write_model


async def test_nothing_is_wrong(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as pod:
        report = await report_at(pod.ops.port)
    assert (report.tier, faults(report.findings)) == ("inference", [])
    assert one(report.findings, "models", Level.OK).seen == "these serve: quick"
    one(report.findings, "ready", Level.OK)


async def test_it_says_where_models_were_fetched(tmp_path: Path) -> None:
    """Also while the service does not run; a mark that cannot be read is no fault."""
    mock_model(tmp_path)
    write_mark(tmp_path, "https://models.example.com/x.zip", "ab12")
    async with running_pod(tmp_path) as pod:
        report = await report_at(pod.ops.port)
    for findings in (report.findings, of_repository(InferenceSettings(models=str(tmp_path)))):
        seen = one(findings, "source of the models", Level.OK).seen
        assert seen.startswith("fetched from https://models.example.com/x.zip at 20")
        assert seen.endswith(", sha256 ab12")
    (tmp_path / MARK).write_text("[]")
    assert len(of_repository(InferenceSettings(models=str(tmp_path)))) == 1


async def test_a_repository_without_models(tmp_path: Path) -> None:
    async with running_pod(tmp_path) as pod:
        report = await report_at(pod.ops.port)
    assert one(report.findings, "models").seen == f"the repository '{tmp_path}' has none"
    assert one(report.findings, "ready").seen == "it accepts no work: no model serves"


def test_what_loads_or_drains_is_no_fault() -> None:
    assert of_readiness("models are being loaded").level is Level.WARNING
    assert of_readiness("it is draining").level is Level.WARNING


def test_a_repository_whose_service_did_not_start(tmp_path: Path) -> None:
    mock_model(tmp_path)
    settings = InferenceSettings(models=str(tmp_path))
    assert one(of_repository(settings), "models", Level.OK).seen.endswith("has 1, which can be read")
    write_model(tmp_path, "odd", 'backend: "nobody"')
    assert "nobody" in one(of_repository(settings), "model odd").seen
    assert (
        "no model repository"
        in one(of_repository(InferenceSettings(models=str(tmp_path / "no"))), "HUB_MODELS").seen
    )
