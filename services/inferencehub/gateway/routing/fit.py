"""Which pods share a lane, and which of a model's lanes a request goes to: that whose signature it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import JSON_OUTPUTS, ModelInfo
from inferencehub.gateway.routing.model_lane import ModelLane

Ready = tuple[InferRequest, list[ModelLane]]  # a request, and the lanes that it may go to
Make = Callable[[ModelInfo], InferRequest]
MOST_KEPT = 4096  # descriptions whose contracts are remembered


@lru_cache(MOST_KEPT)
def contract(info: ModelInfo) -> ModelInfo:
    """The part of a model's description that must be equal for two pods to share a lane.

    This is what the gateway reads: the signature, and the parameters that say how `/predict` reads the outputs, which are JSON, and
    whether a request may run again.
    """
    read = [
        item
        for item in info.parameters
        if item[0].startswith("predict_") or item[0] in ("run_at_most_once", JSON_OUTPUTS)
    ]
    return replace(info, version="", platform="", slots=1, parameters=tuple(read))


def fit(lanes: list[ModelLane], request: InferRequest) -> tuple[ModelLane, InferRequest, int]:
    """The lane whose signature a request fits, the request checked against this signature, and its number of rows.

    Raises:
        HubError: if the request fits no lane; the error of the best lane.
    """
    if len(lanes) == 1:
        return (lanes[0], *lanes[0].info.signature.check(request, in_parts=True))
    return first_fit(best_first(lanes), lambda info: request)


def best_first(lanes: list[ModelLane]) -> list[ModelLane]:
    """Lanes in the order in which a request tries them."""
    return sorted(lanes, key=lambda lane: (not lane.open, lane.load, lane.last_used))


def first_fit(
    lanes: list[ModelLane], make: Callable[[ModelInfo], InferRequest]
) -> tuple[ModelLane, InferRequest, int]:
    """As `fit`, for a request that is made for the model of each lane; `lanes` are tried in their order.

    Raises:
        HubError: if no request can be made that fits its lane; the error of the first lane.
    """
    refusal: HubError | None = None
    for lane in lanes:
        try:
            return (lane, *lane.info.signature.check(make(lane.info), in_parts=True))
        except HubError as error:
            refusal = refusal or error
    assert refusal is not None
    try:
        raise refusal
    finally:
        del refusal  # its traceback has this frame: a cycle that would keep the request


def made_for(lanes: list[ModelLane], make: Make) -> Ready:
    """The request for the first of these lanes that it fits, and this lane.

    Raises:
        HubError: as `first_fit`.
    """
    if len(lanes) == 1:  # it is checked when it enters the lane
        return make(lanes[0].info), lanes
    lane, request, _ = first_fit(lanes, make)
    return request, [lane]
