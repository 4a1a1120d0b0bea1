"""Good HTTP requests for every route that reads a body, and changed ones."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from struct import pack
from typing import Any

from inferencehub.core.values.tensors import DTYPES, pack_bytes
from tests.fuzz.changes import WHOLE, Changes
from tests.gateway.raw import request

SIZE = "Inference-Header-Content-Length"
MOST_JSON = 2**17  # bytes; what a process once used for a large body it keeps, which is no growth
PIXELS = [float((7 * n) % 17) for n in range(64)]


def infer(name: str, shape: list[int], datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    """An inference request of one input."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}], **more}


# Good requests: what mutations begin with, and what is asked in between.
CALLS: list[tuple[str, Any]] = [
    ("/predict", {"features": [0.5, 1.2, -3.4]}),
    ("/predict", {"features": PIXELS, "model_name": "digits"}),
    ("/predict", {"text": "not bad at all, I love it 😀", "model_name": "sentiment"}),
    (
        "/v2/models/quick/infer",
        infer("features", [3], "FP32", [1, 2.5, -3], id="a", parameters={"x": 1, "y": "z"}),
    ),
    (
        "/v2/models/quick/versions/1/infer",
        infer("features", [2], "FP32", [1, 2], outputs=[{"name": "class_id"}]),
    ),
    ("/v2/models/digits/infer", infer("input", [1, 64], "FP32", [PIXELS])),
    ("/v2/models/digits/infer", infer("input", [2, 64], "FP32", PIXELS * 2)),
    ("/v2/models/sentiment/infer", infer("text", [2, 1], "BYTES", ["awful", "what a lovely day"])),
    ("/v2/models/sentiment/versions/1/infer", infer("text", [1, 1], "BYTES", [["so-so"]])),
    ("/v2/models/any_INT64/infer", infer("x", [2], "INT64", [2**63 - 1, -(2**63)])),
    ("/v2/models/sentiment/generate", {"text": "a lovely day", "id": "g", "parameters": {"own": 1.5}, "more": "x"}),
    ("/v2/models/any_BYTES/versions/1/generate", {"x": ["a", "é", ""]}),
    ("/v2/models/rows/generate", {"x": [[[1, 2], [3, 4]]]}),
    ("/v2/models/several/generate_stream", {"count": 3}),
    ("/v2/models/rows/versions/1/generate_stream", {"x": [[[0.5]]]}),
    ("/v1/models/digits:predict", {"instances": [PIXELS, PIXELS]}),
    ("/v1/models/sentiment:predict", {"instances": [["so-so"], [{"b64": "bG92ZWx5"}]], "signature_name": "d"}),
    ("/v1/models/any_FP32:predict", {"instances": [{"x": [0.5, "NaN"]}, {"x": [1, 2]}]}),
    ("/v1/models/rows/versions/1:predict", {"instances": [{"x": [[[1]]]}, {"x": [[[2]]]}]}),
]  # fmt: skip
# Routes of the server itself; what is not there is refused, whatever the body.
SETTINGS: list[tuple[str, Any]] = [
    ("/v2/repository/index", {"ready": True}),
    ("/v2/logging", {"log_info": True, "log_verbose_level": 0, "log_format": "json"}),
    ("/v2/trace/setting", {"trace_level": ["OFF"]}),
    ("/v2/models/quick/trace/setting", {"trace_rate": "1"}),
    ("/v2/repository/models/quick/load", {"parameters": {"config": "{}"}}),
    ("/v2/repository/models/quick/unload", {"parameters": {"unload_dependents": True}}),
    ("/v2/systemsharedmemory/region/a/register", {"key": "/a", "offset": 0, "byte_size": 64}),
    ("/v2/cudasharedmemory/region/a/register", {"raw_handle": {"b64": "aA=="}, "byte_size": 64}),
    ("/v2/systemsharedmemory/unregister", {}),
    ("/v2/cudasharedmemory/region/a/unregister", {}),
]


MODEL = ("", "/config", "/stats", "/ready", "/trace/setting", "/infer", "/generate_stream")
# Paths of pages, and what stands in place of their parts.
PATHS = [
    "/", "/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/stats", "/v2/logging",
    "/v2/trace/setting", "/v2/repository/index", "/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/a/status",
    "/v1/models", "/v1/models/quick", "/v1/models/quick/versions/1", "/v1/models/quick:predict", "/openapi.json", "/docs",
    *[f"/v2/models/{model}{path}" for model in ("quick", "rows/versions/1", "several") for path in MODEL],
]  # fmt: skip
NAMES = ["", "%ff", "%00", "%2F", "..", ".", "%F0%9F%98%80", "x" * 2000, "quick", "absent", "versions", "1", "01", "-1", "9" * 40,
         "%25", "%zz", "a:b", "stats", "%0d%0a", "{model}", "infer", "\xe9"]  # fmt: skip


@dataclass
class Binary:
    """A request whose tensors are behind the JSON: name, datatype, shape and bytes of each."""

    path: str
    tensors: list[tuple[str, str, list[int], bytes]]
    more: dict[str, Any]

    def json(self) -> dict[str, Any]:
        """The JSON in front."""
        inputs = [
            {
                "name": name,
                "datatype": datatype,
                "shape": shape,
                "parameters": {"binary_data_size": len(data)},
            }
            for name, datatype, shape, data in self.tensors
        ]
        return {"inputs": inputs, **self.more}

    def whole(self) -> bytes:
        """The request as it should be."""
        text = json.dumps(self.json()).encode()
        return request(
            "POST", self.path, text + b"".join([data for *_, data in self.tensors]), f"{SIZE}: {len(text)}"
        )


ALL = {"parameters": {"binary_data_output": True}}
CLASSES = {"outputs": [{"name": "probabilities", "parameters": {"classification": 3, "binary_data": True}}]}
BINARY = [
    Binary("/v2/models/quick/infer", [("features", "FP32", [3], pack("<3f", 1, 2.5, -3))], ALL),
    Binary(
        "/v2/models/any_FP32/infer",
        [("x", "FP32", [1, 1, 2, 1, 2], pack("<4f", 1, 2, float("nan"), -0.0))],
        ALL,
    ),
    Binary(
        "/v2/models/any_INT64/infer", [("x", "INT64", [2], pack("<2q", 2**63 - 1, -(2**63)))], {"id": "i"}
    ),
    Binary(
        "/v2/models/any_BYTES/infer",
        [("x", "BYTES", [2, 2], pack_bytes([b"", b"a\0b", "é😀".encode(), b"x"]))],
        ALL,
    ),
    Binary("/v2/models/rows/infer", [("x", "FP32", [2, 1, 1, 2], pack("<4f", 1, 2, 3, 4))], ALL),
    Binary("/v2/models/digits/infer", [("input", "FP32", [2, 64], pack("<64f", *PIXELS) * 2)], CLASSES),
    Binary("/v2/models/any_FP32/infer", [("x", "FP32", [9000], pack("<9000f", *range(9000)))], ALL),
]


class Bodies(Changes):
    """Requests out of a seed that are probably bad."""

    def of_json(self, good: list[tuple[str, Any]]) -> bytes:
        """A request whose body is JSON, or was."""
        pick = self.random
        path, body = pick.choice(good)
        if pick.random() < 0.1:
            path = pick.choice(good)[0]
        if "inputs" in body and pick.random() < 0.1:
            given = body["inputs"][0]
            data = given["data"] if pick.random() < 0.5 else pick.choices(WHOLE, k=len(given["data"]))
            body = {**body, "inputs": [{**given, "datatype": pick.choice(list(DTYPES)), "data": data}]}
        for _ in range(pick.choice([0, 1, 1, 1, 2, 5])):
            bent = self.bend(body)
            body = bent if len(json.dumps(bent)) < MOST_JSON else body
        encoded = json.dumps(body, ensure_ascii=pick.random() < 0.5).encode(
            pick.choice(["utf-8"] * 9 + ["utf-16"])
        )
        if pick.random() < 0.4:
            encoded = self.spoil(encoded)
        headers = []
        if pick.random() < 0.05:
            headers.append(
                "x-request-timeout-ms: " + pick.choice(["0", "-5", "abc", "1e9", "9" * 30, "60000"])
            )
        if pick.random() < 0.05:
            headers.append("x-request-id: " + pick.choice(["a,b;c", '"', "[1,2]", "x" * 200, "caf\xe9"]))
        return request("POST", path, self.coded(encoded, headers), *headers)

    def of_path(self) -> bytes:
        """A request without a body of its own, whose path is probably wrong."""
        pick = self.random
        parts = pick.choice(PATHS).split("/")
        for _ in range(pick.choice([0, 1, 1, 2])):
            at = pick.randrange(1, len(parts) + 1)
            match pick.randrange(4):
                case 0:
                    parts[at:at] = [pick.choice(NAMES)]
                case 1:
                    del parts[at : at + 1]
                case _:
                    parts[at : at + 1] = [pick.choice(NAMES)]
        query = pick.choice(["", "", "", "?", "?a=%ff&b", "?ready=" + "x" * 3000])
        return request(pick.choice(["GET"] * 8 + ["POST", "PUT", "DELETE"]), "/".join(parts) + query, b"")

    def of_binary(self) -> bytes:
        """A request whose tensors are, or were, behind its JSON."""
        pick = self.random
        good = pick.choice(BINARY)
        parts, body = [data for *_, data in good.tensors], good.json()
        for _ in range(pick.choice([0, 0, 1, 2])):
            body = self.bend(body)
        text = json.dumps(body).encode()
        if pick.random() < 0.01:
            text += b" " * 2**20  # a thread reads it
        size: object = len(text)
        for _ in range(pick.choice([0, 1, 1, 2])):
            match pick.randrange(8):
                case 0:
                    parts = [data[: pick.randrange(len(data) + 1)] for data in parts]
                case 1:
                    parts.append(pick.randbytes(pick.choice([1, 4, 8, 5000])))
                case 2:
                    parts = [*pick.choice(BINARY).tensors[0][3:], *parts[::-1]]
                case 3:
                    parts = [self.spoil(data) for data in parts]
                case 4:
                    text = self.spoil(text)
                case 5:
                    size = max(0, len(text) + pick.choice([-1, 1, -2, 4, 10_000, -10_000]))
                case 6:
                    size = pick.choice(
                        [0, 1, 2**31, 10**11, -1, "", "x", "0x10", "1.0", "9" * 40, " 7", "+7"]
                    )
                case _:
                    parts = []
        headers = [f"{SIZE}: {size}"] if pick.random() < 0.97 else []
        if pick.random() < 0.02:
            headers.append(f"{SIZE}: {len(text)}")
        return request("POST", good.path, self.coded(b"".join([text, *parts]), headers), *headers)

    def coded(self, body: bytes, headers: list[str]) -> bytes:
        """A body, sometimes compressed; `headers` get its coding, sometimes another one."""
        pick = self.random
        if pick.random() < 0.1:
            headers.append("content-encoding: " + pick.choice(["gzip", "gzip", "deflate", "br", "identity"]))
            if pick.random() < 0.7:
                body = gzip.compress(body, 1)
                body = self.spoil(body) if pick.random() < 0.5 else body
        return body
