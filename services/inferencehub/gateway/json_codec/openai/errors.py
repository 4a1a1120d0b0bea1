"""Errors in OpenAI's shape: `{"error": {message, type, param, code}}`. Its clients choose an exception by the status."""

from __future__ import annotations

import re

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.json_codec.answer_json import encode

MODELS = "/v1/models/"
# V1's calls of a model: their errors have the shape of the V1 protocol, `{"error": "<sentence>"}`.
OF_V1 = re.compile(r"/v1/models/.*:(predict|explain)")
OBJECTS = re.compile(r"/v1/(files/[^/]+(/content)?|batches/[^/]+(/cancel)?)")  # paths that name one
# OpenAI's types and codes where it has any; the others are ours.
TYPES = {
    Kind.UNAUTHENTICATED: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.BUSY: "rate_limit_error",
}
CODES = {
    Kind.UNAUTHENTICATED: "invalid_api_key",
    Kind.NOT_FOUND: "model_not_found",
    Kind.BUSY: "rate_limit_exceeded",
}


class WrongField(HubError):
    """An error in a field of a request's body.

    Args:
        param: the field, such as `messages[0].content`.
        detail: one sentence for the caller.
        code: the error's code, such as `unsupported_parameter`.
    """

    def __init__(self, param: str, detail: str, code: str = "invalid_value") -> None:
        super().__init__(Kind.BAD_INPUT, detail)
        self.param = param
        self.code = code


def unsupported(param: str, detail: str) -> WrongField:
    """The error for a field whose effect this server does not have."""
    return WrongField(param, detail, "unsupported_parameter")


def has_openai_errors(path: str) -> bool:
    """Whether errors at a path (decoded, without its query) have OpenAI's shape."""
    return path.startswith("/v1/") and not OF_V1.fullmatch(path)


def asked_model(path: str) -> str:
    """The name of the model that a path of OpenAI's API asks for, which may have a slash; "" for other paths."""
    return path.removeprefix(MODELS) if path.startswith(MODELS) and has_openai_errors(path) else ""


def page_error(error: HubError, path: str) -> bytes:
    """The JSON of an error at a path that is no endpoint."""
    if error.kind is Kind.NOT_FOUND and OBJECTS.fullmatch(path):
        return encode({"error": described(error) | {"param": "id", "code": None}})
    if error.kind is Kind.NOT_FOUND and not asked_model(path):
        return encode({"error": described(error) | {"param": None, "code": "unknown_url"}})
    return openai_error(error)


def openai_error(error: HubError) -> bytes:
    """The JSON of an error."""
    return encode({"error": described(error)})


def described(error: HubError) -> dict[str, str | None]:
    """An error as OpenAI's object."""
    kind = error.kind
    found: dict[str, str | None] = {
        "message": error.detail,
        "type": TYPES.get(kind) or ("invalid_request_error" if kind.http < 500 else "server_error"),
        "param": "model" if kind is Kind.NOT_FOUND else None,
        "code": CODES.get(kind) or (None if kind is Kind.BAD_INPUT else kind.label),
    }
    if isinstance(error, WrongField):
        found |= {"param": error.param, "code": error.code}
    return found
