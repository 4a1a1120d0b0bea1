"""An ensemble, as one pod describes it. Its runs are here in the gateway, so it takes no slot of the pod."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.sink import Emit
from inferencehub.core.lane.slot import Ran
from inferencehub.core.oip.ensembles.fit import misfit
from inferencehub.core.oip.ensembles.steps import PLATFORM, Step, steps_of
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import Signature
from inferencehub.gateway.pods.replica import Replica
from inferencehub.gateway.routing.ensembles.run import Find, Run
from inferencehub.pb.model_config_pb2 import ModelConfig

MOST_RUNS = 1000  # at a time; more calls wait in the ensemble's lane
UNCHECKED = "its steps call one another without end"


def is_ensemble(replica: Replica) -> bool:
    """Whether the steps of a model are to be run here. A server that is none of ours runs its ensembles itself."""
    return replica.info.platform == PLATFORM and replica.config is not None and replica.pod.ours


class EnsembleReplica(Replica):
    """See the module's text.

    Args:
        described: the pod's own replica of it, which runs nothing.
        config: its configuration.
        find: finds the lanes of a step's model.
        room_of: how many rows of jobs the lanes of a step's model have room for.

    `problem` says why its steps cannot run now, "" if they can; `steps` are those of the config.
    """

    def __init__(
        self, described: Replica, config: ModelConfig, find: Find, room_of: Callable[[Step], int]
    ) -> None:
        super().__init__(described.pod, replace(described.info, slots=MOST_RUNS))
        self.config = config
        self.limit = MOST_RUNS
        self.problem = UNCHECKED
        self._find = find
        self._room_of = room_of
        self.steps: tuple[Step, ...] = ()
        self._broken = ""
        try:
            self.steps = steps_of(config)
        except HubError as error:  # from a pod of another release
            self._broken = error.detail

    @property
    def open(self) -> bool:
        """Whether its pod has loaded it, and its steps can run."""
        return not self.problem and super().open

    @property
    def mergeable_rows(self) -> int:
        """None: its steps merge with others."""
        return 0

    @property
    def spare(self) -> int:
        """How many jobs may begin: as many as each of its steps has room for. One if none runs, which may wake their pools."""
        room = min([self._room_of(step) for step in self.steps], default=0)
        return max(int(not self.in_flight), room)

    def uncheck(self) -> None:
        """Its steps are to be looked at: until then it cannot run, and so no ensemble whose step it is."""
        self.problem = UNCHECKED

    def check(self, signatures_of: Callable[[Step], Sequence[Signature] | str | None]) -> bool:
        """Look at the models of its steps; whether it can run now, and could not at the last look.

        Args:
            signatures_of: of a step's model; a reason why it cannot run, or None if nothing is known of it yet.
        """
        if not self.problem:
            return False
        self.problem = self._broken or misfit(self.steps, self.info.signature, signatures_of)
        return not self.problem

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Run the steps; see `Slot.run`.

        Raises:
            NotAnswered: FAILED with the error of the first step that failed.
        """
        job = batch.jobs[0]
        if len(batch.jobs) > 1:  # they came while other pods had a plain model of this name: each runs alone
            detail = f"model '{self.info.name}' is an ensemble now, which runs each call alone"
            raise NotAnswered(Outcome.FAILED, HubError(Kind.MODEL_FAILED, detail))
        if job.background:
            job.deadline = (
                inf  # its steps wait behind calls for as long as they have to, and their runs have deadlines
            )
        try:
            return await Run(self.info, self.steps, job, self._find).answer()
        except HubError as error:
            raise NotAnswered(Outcome.FAILED, error) from None
