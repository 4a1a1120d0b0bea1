"""Every gRPC service of both tiers, its methods, and good requests for each."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import Any

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import jobs_pb2 as jobs_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.inference.pod_processes import features
from tests.written import request_to_proto

Reflect = reflection_pb2.ServerReflectionRequest
PIXELS = [float((7 * n) % 17) for n in range(64)]


@dataclass(frozen=True)
class Method:
    """A method.

    Args:
        path: service and method.
        good: requests that are answered.
        streams: whether it takes a stream of them; all others but Watch take one, and answer once.
        weight: its share of the messages of its service.
    """

    path: str
    good: tuple[Message, ...]
    streams: bool = False
    weight: int = 1

    @property
    def is_watch(self) -> bool:
        """Whether its answers do not end by themselves."""
        return self.path.endswith("/Watch")


def floats(model: str, shape: tuple[int, ...], *values: float, **more: Any) -> pb.ModelInferRequest:
    """A request of one FP32 input `x`."""
    return request_to_proto(
        InferRequest(model, "", (Tensor("x", "FP32", shape, pack(f"<{len(values)}f", *values)),), **more)
    )


def typed(model: str, name: str, dtype: str, *values: Any) -> pb.ModelInferRequest:
    """A request whose input has typed contents."""
    message = pb.ModelInferRequest(model_name=model, id="t")
    tensor = message.inputs.add(name=name, datatype=dtype, shape=[len(values)])
    getattr(tensor.contents, messages.CONTENTS[dtype][0]).extend(values)
    return message


def infer_requests() -> tuple[pb.ModelInferRequest, ...]:
    """Requests of ModelInfer, each of another kind."""
    texts = Tensor("x", "BYTES", (2,), pack_bytes([b"a", "é\0".encode()]))
    wanted = floats("any_FP32", (3,), 1, 5, 2, outputs=("y",), classes=(2,))
    wanted.inputs[0].parameters["content_type"].string_param = "np"
    return (
        features("quick", 0.5, 1.2, id="a", timeout=30_000_000, priority=1, own="word"),
        floats("any_FP32", (1, 1, 1, 1, 2), 1, float("nan")),
        floats("rows", (2, 1, 1, 1), 1, 2, parameters={"custom": 0.5, "flag": True}),
        request_to_proto(InferRequest("any_BYTES", "1", (texts,))),
        request_to_proto(InferRequest("any_FP32", "", (Tensor("x", "FP32", (12_000,), bytes(48_000)),))),
        typed("any_INT64", "x", "INT64", 2**63 - 1, -(2**63)),
        typed("any_BYTES", "x", "BYTES", b"", b"\0"),
        wanted,
    )


def merged_requests() -> tuple[pb.ModelInferRequest, ...]:
    """Requests as gateways send them to pods, with our extension of the protocol."""
    several = typed("several", "count", "INT32", 3)
    for message in (made := [*infer_requests(), several]):
        message.id = "1"
        rows = message.inputs[0].shape[0] if message.model_name == "rows" else 1
        members = ",".join([f'[1,{60_000_000 + row},"caller-{row}"]' for row in range(rows)])
        message.parameters["hub_members"].string_param = f"[{members}]"
    again = features("quick", 1.0, id="2", hub_again=True, hub_members='[[1, 60000000, "a"]]')
    cancel, credit = pb.ModelInferRequest(id="1"), pb.ModelInferRequest(id="1")
    cancel.parameters["hub_cancel"].bool_param = True
    credit.parameters["hub_credit"].int64_param = 5
    return (*made, again, cancel, credit)


def log_settings(**on: bool) -> pb.LogSettingsRequest:
    """A request that changes log settings."""
    message = pb.LogSettingsRequest()
    for name, value in on.items():
        message.settings[name].bool_param = value
    return message


def named(kind: Any) -> tuple[Message, ...]:
    """Requests about models."""
    return kind(name="quick"), kind(name="quick", version="1"), kind(name="rows")


def oip(extended: bool) -> dict[str, Method]:
    """The methods of the Open Inference Protocol; `extended` if those that run models take our parameters."""
    load = pb.RepositoryModelLoadRequest(model_name="quick")
    load.parameters["config"].string_param = "{}"
    trace = pb.TraceSettingRequest(model_name="quick")
    trace.settings["trace_level"].value.append("OFF")
    good: dict[str, tuple[Message, ...]] = {
        "ServerLive": (pb.ServerLiveRequest(),),
        "ServerReady": (pb.ServerReadyRequest(),),
        "ServerMetadata": (pb.ServerMetadataRequest(),),
        "ModelReady": named(pb.ModelReadyRequest),
        "ModelMetadata": named(pb.ModelMetadataRequest),
        "ModelConfig": named(pb.ModelConfigRequest),
        "ModelStatistics": (pb.ModelStatisticsRequest(), *named(pb.ModelStatisticsRequest)),
        "RepositoryIndex": (pb.RepositoryIndexRequest(), pb.RepositoryIndexRequest(ready=True)),
        "RepositoryModelLoad": (load,),
        "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest(model_name="quick"),),
        "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest(),),
        "SystemSharedMemoryRegister": (
            pb.SystemSharedMemoryRegisterRequest(name="a", key="/a", byte_size=64),
        ),
        "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest(name="a"),),
        "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest(),),
        "CudaSharedMemoryRegister": (
            pb.CudaSharedMemoryRegisterRequest(name="a", raw_handle=b"h", byte_size=64),
        ),
        "CudaSharedMemoryUnregister": (pb.CudaSharedMemoryUnregisterRequest(name="a"),),
        "TraceSetting": (pb.TraceSettingRequest(), pb.TraceSettingRequest(model_name="quick"), trace),
        "LogSettings": (pb.LogSettingsRequest(), log_settings(log_info=True), log_settings(log_info=False)),
    }
    runs = (*infer_requests(), *(merged_requests() if extended else ()))
    end = typed("several", "count", "INT32", 2)
    end.parameters["triton_enable_empty_final_response"].bool_param = True
    found = {name: Method(f"/{messages.SERVICE}/{name}", requests) for name, requests in good.items()}
    found["ModelInfer"] = Method(f"/{messages.SERVICE}/ModelInfer", runs, weight=10)
    found["ModelStreamInfer"] = Method(messages.STREAM_METHOD, (*runs, end), streams=True, weight=10)
    return found


def jobs() -> list[Method]:
    """The methods of jobs, which only a gateway has. Nearly all changed requests are for jobs that are not there."""
    asked: dict[str, tuple[Message, ...]] = {
        f"{name}Job": (getattr(jobs_pb, f"{name}JobRequest")(id="a" * 32),)
        for name in ("Get", "Cancel", "Retry", "Delete")
    }
    asked["GetJobResult"] = (jobs_pb.GetJobResultRequest(id="a" * 32, wait_s=1),)
    asked["ListJobs"] = (
        jobs_pb.ListJobsRequest(state="succeeded", model="quick", limit=10, cursor="a" * 32),
        jobs_pb.ListJobsRequest(),
    )
    return [Method(f"/inference.Jobs/{name}", good) for name, good in asked.items()]


def services(extended: bool) -> dict[str, list[Method]]:
    """Methods by the name of their service; those of a pod if `extended`, as in `oip`."""
    check = (health_pb2.HealthCheckRequest(), health_pb2.HealthCheckRequest(service=messages.SERVICE))
    reflect = (
        Reflect(list_services="*", host="a"),
        Reflect(file_by_filename="open_inference.proto"),
        Reflect(file_containing_symbol=messages.SERVICE),
        Reflect(all_extension_numbers_of_type="inference.ModelInferRequest"),
        Reflect(
            file_containing_extension={
                "containing_type": "inference.ModelInferRequest",
                "extension_number": 1,
            }
        ),
    )
    predict = (
        predict_pb.PredictRequest(features=[0.5, 1.2, -3.4]),
        predict_pb.PredictRequest(features=PIXELS, model_name="digits"),
        predict_pb.PredictRequest(text="not bad at all 😀", model_name="sentiment"),
    )
    return {
        messages.SERVICE: list(oip(extended).values()),
        "inference.ModelInference": [Method("/inference.ModelInference/Predict", predict)],
        **({} if extended else {"inference.Jobs": jobs()}),
        "grpc.health.v1.Health": [
            Method(f"/grpc.health.v1.Health/{name}", check) for name in ("Check", "Watch")
        ],
        **{
            f"grpc.reflection.{version}.ServerReflection": [
                Method(
                    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", reflect, streams=True
                )
            ]
            for version in ("v1", "v1alpha")
        },
    }
