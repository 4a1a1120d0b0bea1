"""Devices of ONNX models: what is said where there is no GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnxruntime as ort
import pytest

from inferencehub.inference.runtimes.onnx.runtime import CUDA
from tests.hub import MODELS, running_pod, write_model

WITHOUT_CUDA = pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this onnxruntime has CUDA")


@WITHOUT_CUDA
async def test_without_cuda_a_model_for_a_gpu_says_what_to_install(tmp_path: Path) -> None:
    write_model(tmp_path, "gpu", "instance_group { kind: KIND_GPU gpus: [ 0 ] }")
    shutil.copy(MODELS / "digits" / "1" / "model.onnx", tmp_path / "gpu" / "1")
    write_model(tmp_path, "cpu", "instance_group { kind: KIND_CPU }")
    shutil.copy(MODELS / "digits" / "1" / "model.onnx", tmp_path / "cpu" / "1")
    other = """backend: "sentiment" instance_group { kind: KIND_GPU }
        input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }"""
    write_model(tmp_path, "other", other)
    async with running_pod(tmp_path) as pod:
        assert pod.models.get("gpu").reason == (
            "config.pbtxt asks for a GPU (KIND_GPU), and this onnxruntime runs on the CPU only: install onnxruntime-gpu in "
            "place of onnxruntime, or choose KIND_CPU"
        )
        assert pod.models.serves("cpu")
        assert pod.models.get("other").reason == (
            "config.pbtxt: instance_group of KIND_GPU, and the service places no models of backend 'sentiment' on a GPU; "
            "expected KIND_CPU, KIND_AUTO or KIND_MODEL"
        )
