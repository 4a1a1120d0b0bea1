"""JSON Schemas of request and answer bodies, for the OpenAPI document.

They are not derived from the structs of `json_codec/request_json.py` and `json_codec/answer_json.py`. Those structs say
how the gateway reads a body; the schemas say what a caller may write.
"""

from __future__ import annotations

from typing import Any

from inferencehub.gateway.jobs.record import State
from inferencehub.gateway.json_codec.tensor_json import FLAT

Json = dict[str, Any]


def text(says: str, **more: Any) -> Json:
    """The schema of a string."""
    return {"type": "string", "description": says, **more}


def record(required: str, **properties: Json) -> Json:
    """The schema of an object; `required` names its required properties, with spaces."""
    return {"type": "object", "properties": properties, "required": required.split()}


def listed(items: Json, **more: Any) -> Json:
    """The schema of an array."""
    return {"type": "array", "items": items, **more}


def ref(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


BOOL = {"type": "boolean"}
WHOLE = {"type": "integer", "minimum": 0}
DATATYPE = {"type": "string", "enum": list(FLAT)}
SHAPE = listed({"type": "integer", "minimum": 0}, maxItems=32, description="row-major; the batch first")
DATA = listed({}, description="numbers, booleans or strings, flat or nested as the shape says; for FP16, FP32 and "
              "FP64, the strings NaN, Infinity and -Infinity stand for numbers that JSON does not have; absent if the tensor's parameter "
              "binary_data_size says how many raw bytes it has behind the JSON")  # fmt: skip
PARAMETERS = {
    "type": "object",
    "additionalProperties": {"type": ["boolean", "integer", "number", "string", "null"]},
    "description": "passed on to the model, except two that the gateway uses: timeout (the deadline in microseconds) "
    "and binary_data_output (raw outputs behind the JSON)",
}
OF_OUTPUT: Json = {
    "type": "object",
    "properties": {
        "binary_data": {"type": "boolean", "description": "whether the output is a raw tensor behind the JSON"},
        "classification": {"type": "integer", "minimum": 0,
                           "description": "so many of the highest values, as text value:index or value:index:label"},
    },
}  # fmt: skip
SPEC = record("name datatype shape", name=text("its name"), datatype={"type": "string"},
              shape=listed({"type": "integer"}, description="-1 where any size is accepted"))  # fmt: skip

TIME = {"type": ["string", "null"], "format": "date-time"}
STATES = [state.value for state in State]
JOB = record(
    "id state model version priority attempts created not_before started ended expires place progress status error items webhook",
    id=text("its id"), state={"type": "string", "enum": STATES}, model=text("the model"), version=text("empty for the default one"),
    priority={"type": "integer", "minimum": 0, "maximum": 9}, attempts=WHOLE, created=TIME, not_before=TIME, started=TIME, ended=TIME,
    expires={**TIME, "description": "when it is given up if it waits, or its result goes"},
    place={"type": ["integer", "null"], "description": "jobs of the caller and the model that run before it, 1000 for more"},
    progress={"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "of its newest attempt, as the model told it"},
    status={"type": ["integer", "null"], "description": "of its result"},
    error={"type": ["string", "null"], "description": "why it did not succeed"},
    items={"anyOf": [ref("JobItems"), {"type": "null"}], "description": "how the items of a batch stand"},
    webhook={"description": "where its end is told", "oneOf": [{"type": "null"}, record(
        "url state attempts status error", url=text("gets a POST"),
        state={"type": "string", "enum": ["pending", "delivered", "failed"]}, attempts=WHOLE,
        status={"type": ["integer", "null"], "description": "of the last answer"},
        error={"type": ["string", "null"], "description": "why the last attempt failed"})]})  # fmt: skip
COUNTED = "total waiting running succeeded failed cancelled expired"
JOB_ITEMS = record(f"{COUNTED} progress", **dict.fromkeys(COUNTED.split(), WHOLE),
                   progress={"type": "number", "description": "the part of them that has ended, 0 to 1"})  # fmt: skip
BATCH_ITEM = record(
    "url body", custom_id=text("unlike all others of the file; its number in the file if it is left out"),
    method={"type": "string", "enum": ["POST"]}, url=text("the path of a call of a model", example="/predict"),
    body={"description": "the body of the call"})  # fmt: skip

SCHEMAS: dict[str, Json] = {
    "PredictRequest": {
        **record(
            "",
            features=listed({"type": "number"}, minItems=1, description="finite numbers, for the first input"),
            text=text("a text, for a model that takes one"),
            model_name=text("the model; needed where there are several and none is the default"),
        ),
        "oneOf": [{"required": ["features"]}, {"required": ["text"]}],
        "additionalProperties": False,
        "description": "If a key comes twice, the last one counts, in all bodies.",
        "example": {"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"},
    },
    "PredictAnswer": {
        **record(
            "class_id confidence error",
            class_id={"type": "integer", "description": "what the model's label says, or the number of the highest score; "
                      "-1 if there is an error"},
            confidence={"type": "number", "minimum": 0, "maximum": 1},
            error=text("a sentence, empty on success"),
            label=text("the class's name, if the model gives one"),
        ),
        "example": {"class_id": 3, "confidence": 0.94, "error": ""},
    },
    "InferRequest": {
        **record(
            "inputs",
            id=text("returned with the answer"),
            parameters=PARAMETERS,
            inputs=listed(record("name shape datatype", name=text("the input's name"), shape=SHAPE,
                                 datatype=DATATYPE, data=DATA)),
            outputs=listed(record("name", name=text("an output's name"), parameters=OF_OUTPUT),
                           description="all if left out"),
        ),
        "example": {
            "inputs": [{"name": "features", "shape": [3], "datatype": "FP32", "data": [0.5, 1.2, -3.4]}]
        },
    },
    "V1Request": {
        **record("instances",
                 instances=listed({}, minItems=1, description="rows of the only input, or objects with a row for each input"),
                 signature_name=text("ignored: a model has one signature")),
        "example": {"instances": [0.5]},
    },
    "V1Answer": record(
        "predictions",
        predictions=listed({}, description="rows of the only output, or objects with a row for each output"),
    ),
    "GenerateRequest": {
        "type": "object",
        "properties": {"id": text("returned with each answer"), "parameters": PARAMETERS},
        "additionalProperties": {"description": "the value of the input of this name: one element or an array; any other key is a parameter"},
        "example": {"features": [0.5, 1.2, -3.4]},
    },
    "GenerateAnswer": {
        **record(
            "model_name model_version",
            model_name=text("the model"),
            model_version=text("the version that ran"),
            id=text("the request's"),
        ),
        "additionalProperties": {"description": "the output of this name: one element, or a flat array; the elements of outputs in the config's json_outputs are JSON values"},
    },
    "InferAnswer": record(
        "model_name model_version outputs",
        model_name=text("the model"),
        model_version=text("the version that ran"),
        id=text("the request's"),
        parameters={**PARAMETERS, "description": "parameters that the model returns with its outputs"},
        outputs=listed(record("name shape datatype", name=text("the output's name"), shape=SHAPE,
                              datatype=DATATYPE, data={**DATA, "description": "flat; of outputs in the config's json_outputs, JSON values"})),
    ),
    "Model": record("name versions platform inputs outputs", name=text("the model"), platform=text("its runtime"),
                    versions=listed({"type": "string"}), inputs=listed(SPEC), outputs=listed(SPEC)),
    "ModelConfig": {"type": "object", "description": "Triton's ModelConfig in JSON; integers are numbers, enums are names"},
    "ModelList": record("models", models=listed(record(
        "name state reason no_predict", name=text("the model"), state={"type": "string", "enum": ["READY", "UNAVAILABLE"]},
        reason=text("why it does not serve; empty if it serves"),
        no_predict=text("why /predict cannot serve it, though /v2 can; empty if /predict can")))),
    "Statistics": record("model_stats", model_stats=listed({"type": "object"},
                         description="Triton's ModelStatistics in JSON; durations in ns")),
    "Traffic": record("model sticky versions shadow", model=text("the model"), sticky=text("the header that decides; empty for chance"),
        versions=listed(record("version aliases weight share calls rolled_back", version=text("the version"),
            aliases=listed({"type": "string"}), weight={"type": "number"},
            share={"type": "number", "description": "of the calls without a version, now"},
            calls=record("ok failed refused", ok=WHOLE, failed=WHOLE, refused=WHOLE),
            rolled_back=text("why it lost its weight; empty if it did not"))),
        shadow={"type": ["object", "null"], "description": "the version that gets copies of calls, and what they have shown"}),
    "LogSettings": {**record("", log_file=text("empty: lines go to standard error"), log_info=BOOL, log_warning=BOOL,
                             log_error=BOOL, log_verbose_level={"type": "integer", "minimum": 0},
                             log_format=text("json or human")),
                    "description": "A switch that is on turns on those above it, one that is off those below it.",
                    "example": {"log_info": True}},
    "TraceSettings": {"type": "object", "description": "Triton's trace settings"},
    "RepositoryIndexRequest": {**record("", ready={"type": ["boolean", "null"], "description": "list only what serves"}),
                               "description": "may be empty", "example": {"ready": True}},
    "RepositoryIndex": listed(record("name version state reason", name=text("the model"), version=text("the version"),
        state={"type": "string", "enum": ["READY", "LOADING", "UNAVAILABLE"]},
        reason=text("why it does not serve, or how many of several pods serve it"))),
    "LoadRequest": {**record("", parameters=record("", config=text("a configuration as JSON in place of config.pbtxt"))),
                    "description": "may be empty", "example": {"parameters": {}}},
    "UnloadRequest": {**record("", parameters=record("", unload_dependents={**BOOL, "description": "the models of its steps too"})),
                      "description": "may be empty", "example": {"parameters": {"unload_dependents": False}}},
    "Changed": {"type": "object", "description": "empty: all pods have made the change"},
    "Server": record("name version extensions", name=text("inferencehub"), version=text("its version"),
                     extensions=listed({"type": "string"})),
    "Usage": record("tenant usage quotas", tenant=text("empty: the figures are those of the key alone"), usage=listed(record(
        "day caller calls rows compute_ms bytes", day=text("in UTC, such as 2026-11-29"), caller=text("the id of a key; other for tokens"),
        calls=WHOLE, rows=WHOLE, compute_ms={"type": "number"}, bytes=WHOLE)),
        quotas=listed(record("of unit quota used begins_anew", of={"type": "string", "enum": ["key", "tenant"]},
        unit={"type": "string", "enum": ["calls", "rows"]}, quota=WHOLE, begins_anew=text("when the day ends, such as 2026-11-30T00:00:00Z"),
        used={"type": ["integer", "null"], "description": "over all gateways; null while the store can't be asked"}))),
    "Job": JOB,
    "JobItems": JOB_ITEMS,
    "Batch": listed(
        BATCH_ITEM, description="also as JSON lines: an item in each line",
        example=[{"custom_id": "1", "method": "POST", "url": "/predict", "body": {"features": [0.5], "model_name": "v1-mock"}}]),
    "JobList": record("jobs cursor", jobs=listed(ref("Job")),
                      cursor={"type": ["string", "null"], "description": "gives those after these; null behind the last"}),
    "JobDeleted": record("id deleted", id=text("the job"), deleted=BOOL),
    "JobResult": {"description": "what the call would have been answered, with its content type; of a batch, a line of JSON for each item"},
    "Live": record("live", live=BOOL),
    "Ready": record("ready", ready=BOOL, name=text("the model, if the path names one")),
    "Document": {"type": "object"},
    "Error": {**record("error", error=text("what was expected and what came")), "example": {"error": "a sentence"}},
}  # fmt: skip

HEADERS: dict[str, Json] = {
    "X-Request-Id": text("the request's id, taken from the request or made by the gateway"),
    "Server-Timing": text("milliseconds in queue, batch, network, compute (calls only) and total"),
    "X-Served-By": text("the pod that answered"),
    "X-Model-Version": text("the version of the model that answered"),
    "Retry-After": {"type": "integer", "description": "seconds after which to try again"},
    "WWW-Authenticate": text("how to send a key: Bearer"),
    "Location": text("the path of the job"),
    "Preference-Applied": text("respond-async"),
    "Hub-Durability": text("what the accepted job survives"),
    "Allow": text("the methods that the path accepts"),
}
PARAMETER: dict[str, Json] = {
    "model": {"in": "path", "required": True, "schema": text("name of the model", example="v1-mock")},
    "version": {"in": "path", "required": True, "schema": text("version of the model", example="1")},
    "id": {"in": "path", "required": True, "schema": text("its id")},
    "state": {"in": "query", "schema": {"type": "string", "enum": STATES}},
    "of_model": {"name": "model", "in": "query", "schema": text("only jobs of this model")},
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    "limit_of_files": {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000}},
    "limit_of_batches": {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    "after": {"in": "query", "schema": text("the `last_id` of the page before")},
    "order": {"in": "query", "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"}},
    "purpose": {"in": "query", "schema": {"type": "string", "default": "batch"}},
    "cursor": {"in": "query", "schema": text("of the page before")},
    "wait": {"in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 60, "description": "seconds to wait for the end"}},
    "Prefer": {"in": "header", "schema": text("respond-async makes a job of the call; wait=10 waits so many seconds for its end",
                                              example="respond-async, wait=10")},
    "Idempotency-Key": {"in": "header", "schema": text("the same key and request is the same job")},
    "X-Job-Priority": {"in": "header", "schema": {"type": "integer", "minimum": 0, "maximum": 9, "default": 4}},
    "X-Job-Ttl-S": {"in": "header", "schema": {"type": "integer", "minimum": 1,
                                               "description": "seconds that the job may wait, and its result is kept"}},
    "X-Job-Not-Before": {"in": "header", "schema": {"type": "string", "format": "date-time"}},
    "X-Webhook-Url": {"in": "header", "schema": text("where the end of the job is told, in a signed POST")},
    "Last-Event-ID": {"in": "header", "schema": text("the last event that came; the stream goes on behind it", example="1-340")},
    "X-Request-Id": {"in": "header", "schema": text("1 to 128 printable ASCII characters without spaces")},
    "X-Request-Timeout-Ms": {
        "in": "header", "schema": {"type": "integer", "minimum": 1, "description": "deadline in milliseconds"}
    },
    "Inference-Header-Content-Length": {
        "in": "header", "schema": {"type": "integer", "minimum": 0, "description": "where the body's JSON ends and raw "
                                   "tensors begin; an answer with raw outputs has it too"}
    },
    "Content-Encoding": {"in": "header", "schema": {"type": "string", "enum": ["gzip", "deflate", "identity"]}},
}  # fmt: skip
