"""What each method of gRPC does, of all services that our ports have."""

from __future__ import annotations

from inferencehub.core.auth.caller import Action

PROBES = ("ServerLive", "ServerReady", "Check", "Watch", "ServerReflectionInfo")
ACTIONS = {
    **dict.fromkeys(("ModelInfer", "ModelStreamInfer", "Predict"), Action.INFER),
    # Of jobs: who may call models may have some, and ask for them.
    **dict.fromkeys(
        ("GetJob", "GetJobResult", "ListJobs", "CancelJob", "RetryJob", "DeleteJob"), Action.INFER
    ),
    **dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), Action.CONTROL),
}


def action_of(method: str) -> Action | None:
    """What a method with this name does; None for probes and reflection, for which no right is needed."""
    return None if method in PROBES else ACTIONS.get(method, Action.DESCRIBE)
