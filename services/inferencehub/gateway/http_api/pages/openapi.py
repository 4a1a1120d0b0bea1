"""The OpenAPI document: tables of all operations, and a function that builds the document from them.

A test compares it with the routes. The schemas of bodies are in `schemas.py`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from inferencehub import __version__
from inferencehub.gateway.http_api.page import OPEN
from inferencehub.gateway.http_api.pages.file_schemas import FILE_SCHEMAS
from inferencehub.gateway.http_api.pages.openai_schemas import OPENAI_SCHEMAS
from inferencehub.gateway.http_api.pages.schemas import HEADERS, PARAMETER, SCHEMAS, Json, ref


class Operation(NamedTuple):
    """A method of a path; `body`, `answer` and `error` name schemas, or media types of content that is not JSON."""

    method: str
    path: str
    tag: str
    summary: str
    answer: str
    errors: tuple[int, ...] = ()
    body: str = ""
    error: str = "Error"


MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
CALL = (400, 404, 405, 408, 413, 415, 422, 429, 500, 501, 503, 504)
JOB = (404, 501, 503)
BATCHES = ("Batch", "BatchRequest")  # bodies that make a batch
AS_JOB = ("Prefer", "Idempotency-Key", "X-Job-Priority", "X-Job-Ttl-S", "X-Job-Not-Before", "X-Webhook-Url")
LOOK = (404, 503)
CHANGE = (400, 404, 409, 413, 500, 501, 503, 504)
REPOSITORY_MODEL = "/v2/repository/models/{model}"

OPERATIONS = (
    Operation("post", "/predict", "Calls", "Features or text in, a class and a confidence out, for any model",
              "PredictAnswer", CALL, "PredictRequest", "PredictAnswer"),
    Operation("post", f"{MODEL}/infer", "Calls", "Tensors in, tensors out: the default version",
              "InferAnswer", CALL, "InferRequest"),
    Operation("post", f"{VERSION}/infer", "Calls", "Tensors in, tensors out: one version",
              "InferAnswer", CALL, "InferRequest"),
    Operation("post", f"{MODEL}/generate", "Calls", "Inputs by name in, outputs by name out: one answer",
              "GenerateAnswer", CALL, "GenerateRequest"),
    Operation("post", f"{VERSION}/generate", "Calls", "The same of one version",
              "GenerateAnswer", CALL, "GenerateRequest"),
    Operation("post", f"{MODEL}/generate_stream", "Calls", "Inputs by name in, one event for each answer out",
              "text/event-stream", CALL, "GenerateRequest"),
    Operation("post", f"{VERSION}/generate_stream", "Calls", "The same of one version",
              "text/event-stream", CALL, "GenerateRequest"),
    Operation("post", "/v1/models/{model}:predict", "Calls", "Instances in, predictions out: the default version",
              "V1Answer", CALL, "V1Request"),
    Operation("post", "/v1/models/{model}/versions/{version}:predict", "Calls", "The same of one version",
              "V1Answer", CALL, "V1Request"),
    Operation("post", "/v1/chat/completions", "Calls", "Messages in, text out: OpenAI's API, also as events",
              "ChatAnswer", CALL, "ChatRequest", "OpenAIError"),
    Operation("post", "/v1/completions", "Calls", "A prompt in, text out: OpenAI's API, also as events",
              "CompletionAnswer", CALL, "CompletionRequest", "OpenAIError"),
    Operation("post", "/v1/embeddings", "Calls", "Texts in, vectors out: OpenAI's API",
              "EmbeddingsAnswer", CALL, "EmbeddingsRequest", "OpenAIError"),
    Operation("get", "/v1/models", "Models", "The models that can be called", "V1Models",
              error="OpenAIError"),
    Operation("get", "/v1/models/{model}", "Models", "Whether a model can be called now", "V1Ready", (404,),
              error="OpenAIError"),
    Operation("get", "/v1/models/{model}/versions/{version}", "Models", "Whether a version can be called now", "V1Ready", (404,),
              error="OpenAIError"),
    Operation("get", "/v2/models", "Models", "All models, and why a model does not serve", "ModelList"),
    Operation("get", MODEL, "Models", "Inputs and outputs of the default version", "Model", LOOK),
    Operation("get", VERSION, "Models", "Inputs and outputs of one version", "Model", LOOK),
    Operation("get", f"{MODEL}/config", "Models", "Configuration of the default version", "ModelConfig", LOOK),
    Operation("get", f"{VERSION}/config", "Models", "Configuration of one version", "ModelConfig", LOOK),
    Operation("get", "/v2/models/stats", "Models", "Counters of all models", "Statistics"),
    Operation("get", f"{MODEL}/stats", "Models", "Counters of all versions of a model", "Statistics", LOOK),
    Operation("get", f"{VERSION}/stats", "Models", "Counters of one version", "Statistics", LOOK),
    Operation("get", f"{MODEL}/ready", "Models", "Whether a model can be called now", "Ready", LOOK),
    Operation("get", f"{VERSION}/ready", "Models", "Whether a version can be called now", "Ready", LOOK),
    Operation("get", f"{MODEL}/traffic", "Models", "How calls are split among the versions of a model", "Traffic", (404,)),
    Operation("post", "/v2/repository/index", "Models", "All model versions and their states", "RepositoryIndex",
              (400, 413), "RepositoryIndexRequest"),
    Operation("post", f"{REPOSITORY_MODEL}/unload", "Models", "Unload a model on all pods", "Changed", CHANGE, "UnloadRequest"),
    Operation("post", f"{REPOSITORY_MODEL}/load", "Models", "Load a model on all pods, or load it again", "Changed", CHANGE,
              "LoadRequest"),
    Operation("get", "/v2/jobs", "Jobs", "The caller's jobs, the newest first", "JobList", (400, 501, 503)),
    Operation("post", "/v2/jobs", "Jobs", "A file of calls becomes one job", "Job",
              (400, 408, 413, 415, 422, 429, 501, 503, 504), "Batch"),
    Operation("get", "/v2/jobs/{id}", "Jobs", "How a job stands", "Job", JOB),
    Operation("delete", "/v2/jobs/{id}", "Jobs", "Nothing is left of a job", "JobDeleted", JOB),
    Operation("get", "/v2/jobs/{id}/result", "Jobs", "The answer that the call would have had, with its status",
              "JobResult", (400, 410, *JOB)),
    Operation("get", "/v2/jobs/{id}/events", "Jobs", "How a job goes, until it has ended: states, progress, and answers as they come",
              "text/event-stream", (400, *JOB)),
    Operation("post", "/v2/jobs/{id}/cancel", "Jobs", "A job does not run, or not on", "Job", JOB),
    Operation("post", "/v2/jobs/{id}/retry", "Jobs", "A job that did not succeed waits again", "Job", (409, *JOB)),
    Operation("get", "/v1/files", "Jobs", "Files that were sent: OpenAI's API", "FileList", (400, 501, 503), error="OpenAIError"),
    Operation("post", "/v1/files", "Jobs", "Send the input of a batch", "File",
              (400, 408, 413, 415, 429, 501, 503), "FileUpload", "OpenAIError"),
    Operation("get", "/v1/files/{id}", "Jobs", "What is known of a file", "File", (410, *JOB), error="OpenAIError"),
    Operation("delete", "/v1/files/{id}", "Jobs", "Nothing is left of a file", "FileDeleted", (409, *JOB), error="OpenAIError"),
    Operation("get", "/v1/files/{id}/content", "Jobs", "What a file has", "application/jsonl", (410, *JOB), error="OpenAIError"),
    Operation("get", "/v1/batches", "Jobs", "Batches that were made of files, the newest first", "BatchList", (400, 501, 503),
              error="OpenAIError"),
    Operation("post", "/v1/batches", "Jobs", "A file becomes a batch: OpenAI's API", "BatchObject",
              (400, 408, 413, 415, 422, 429, 501, 503, 504), "BatchRequest", "OpenAIError"),
    Operation("get", "/v1/batches/{id}", "Jobs", "How a batch stands", "BatchObject", JOB, error="OpenAIError"),
    Operation("post", "/v1/batches/{id}/cancel", "Jobs", "What waits does not run, and what runs is stopped", "BatchObject",
              (409, *JOB), error="OpenAIError"),
    Operation("get", "/v2", "Server", "Name, version and extensions", "Server"),
    Operation("get", "/v2/usage", "Server", "What the caller's tenant has used of this gateway, by day and key", "Usage"),
    Operation("get", "/v2/logging", "Server", "What is logged", "LogSettings"),
    Operation("post", "/v2/logging", "Server", "Change what is logged", "LogSettings", (400, 413, 501), "LogSettings"),
    Operation("get", "/v2/trace/setting", "Server", "Trace settings: tracing is off", "TraceSettings"),
    Operation("get", f"{MODEL}/trace/setting", "Models", "Trace settings: tracing is off", "TraceSettings", LOOK),
    Operation("get", "/v2/health/live", "Server", "Whether the gateway works", "Live"),
    Operation("get", "/v2/health/ready", "Server", "Whether requests are accepted and a pod serves", "Ready", (503,)),
    Operation("get", "/healthz", "Server", "Liveness probe", "Live"),
    Operation("get", "/readyz", "Server", "Readiness probe of the gateway itself", "Ready", (503,)),
    Operation("get", "/openapi.json", "Server", "This document", "Document"),
    Operation("get", "/docs", "Server", "This document as a page", "text/html"),
)  # fmt: skip

FORMS = {"FileUpload": "multipart/form-data"}  # bodies that are no JSON
# Parameters of paths that only they have.
OWN = {
    "/v2/jobs": ("state", "of_model", "limit", "cursor"),
    "/v2/jobs/{id}/result": ("wait",),
    "/v2/jobs/{id}/events": ("Last-Event-ID",),
    "/v1/files": ("purpose", "after", "limit_of_files", "order"),
    "/v1/batches": ("after", "limit_of_batches"),
}

ERRORS = {
    400: "the body, a header or a parameter is not as expected; the sentence says what was expected and what came",
    401: "the gateway asks for credentials, and there are no good ones",
    403: "the caller may not do this",
    404: "no such model, version or path",
    405: "the path accepts another method; the header Allow names it",
    408: "the body did not come in time",
    409: "the job is in no state in which this can be done",
    410: "the result is there no longer, or the job was cancelled",
    413: "the body is too large",
    415: "the body has a content-encoding that is not taken",
    422: "the Idempotency-Key came with another request before",
    429: "the model's queue or the gateway is full",
    500: "the model failed",
    501: "this call cannot carry the model's inputs or outputs",
    503: "the model, or the gateway, is not ready",
    504: "the deadline passed before the model answered",
}


def answer(says: str, content: str, *headers: str) -> Json:
    """A response object; `content` is the name of a schema or a media type."""
    body = (
        {content: {"schema": {"type": "string"}}}
        if "/" in content
        else {"application/json": {"schema": ref(content)}}
    )
    shown = ("X-Request-Id", "Server-Timing", *headers)
    return {
        "description": says,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in shown},
        "content": body,
    }


# Other bodies of an inference request than JSON.
FILES: Json = {
    "multipart/form-data": {
        "schema": {"type": "object", "description": "a field for each input: a file, a text, or JSON"}
    },
    **{
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("image/*", "audio/*", "application/octet-stream")
    },
}


def operation(op: Operation) -> Json:
    """The operation object of one operation."""
    refused = () if op.path in OPEN else (401, 403)
    more = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}
    names = [name for name in ("model", "version", "id") if f"{{{name}}}" in op.path] + ["X-Request-Id"]
    if op.tag == "Calls":
        names += ["X-Request-Timeout-Ms", *AS_JOB]
    if op.body in BATCHES:
        names += ["X-Request-Timeout-Ms", *AS_JOB[1:]]
    else:
        names += OWN.get(op.path, ()) if op.method == "get" else ()
    if op.body:
        names.append("Content-Encoding")
    if op.body == "InferRequest":
        names.append("Inference-Header-Content-Length")
    served = ("X-Served-By", "X-Model-Version") if op.tag == "Calls" else ()
    path = op.path.replace("{", "").replace("}", "").replace(":", "/").removesuffix(".json")
    parts = [part for part in path.split("/") if part]
    found: Json = {
        "operationId": "_".join([op.method, *parts]),
        "tags": [op.tag],
        "summary": op.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
        "responses": {"200": answer("the answer", op.answer, *served)}
        | {
            str(status): answer(ERRORS[status], op.error, *more.get(status, ()))
            for status in sorted({*op.errors, *refused})
        },
        "security": [{}] if op.path in OPEN else [{}, {"bearer": []}, {"key": []}],
    }
    if op.tag == "Calls" or op.answer == "JobResult" or op.body == "Batch":
        headers: tuple[str, ...] = () if op.answer == "JobResult" else ("Location", "Hub-Durability")
        headers += ("Preference-Applied",) if op.tag == "Calls" else ()
        found["responses"]["202"] = answer("a job, which has not ended", "Job", "Retry-After", *headers)
    if op.body:
        found["requestBody"] = {
            "required": op.tag in ("Calls", "Jobs"),
            "content": {FORMS.get(op.body, "application/json"): {"schema": ref(op.body)}},
        }
    if op.body == "Batch":
        found["requestBody"]["content"]["application/jsonl"] = {"schema": {"type": "string"}}
    if op.body == "InferRequest":
        found["requestBody"]["content"] |= FILES
    return found


@cache
def openapi() -> Json:
    """The document, OpenAPI 3.1."""
    paths: dict[str, Json] = {}
    for op in OPERATIONS:
        paths.setdefault(op.path, {})[op.method] = operation(op)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "InferenceHub",
            "version": __version__,
            "description": "Models behind HTTP: a small call, /predict, the Open Inference Protocol, and OpenAI's API.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS | OPENAI_SCHEMAS | FILE_SCHEMAS,
            "headers": {name: {"schema": schema} for name, schema in HEADERS.items()},
            "parameters": {name: {"name": name, **parameter} for name, parameter in PARAMETER.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a key or a JWT, if the gateway asks for one",
                },
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "a key"},
            },
        },
    }
