"""Counters as the protocol's ModelStatistics."""

from __future__ import annotations

from inferencehub.core.values.statistics import Counters
from inferencehub.pb import open_inference_pb2 as pb


def statistics_to_proto(name: str, version: str, counters: Counters) -> pb.ModelStatistics:
    """The statistics of one model version. There is no cache, so its counters are 0."""
    done = counters.requests
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=int(counters.last * 1e3),
        inference_count=counters.rows,
        execution_count=counters.runs,
        inference_stats=pb.InferStatistics(
            success=duration(done, counters.took),
            fail=duration(counters.failed_requests, counters.failed_took),
            queue=duration(done, counters.waited),
            compute_input=duration(done, counters.input),
            compute_infer=duration(done, counters.infer),
            compute_output=duration(done, counters.output),
            cache_hit=duration(0, 0.0),
            cache_miss=duration(0, 0.0),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=duration(size.count, size.input),
                compute_infer=duration(size.count, size.infer),
                compute_output=duration(size.count, size.output),
            )
            for rows, size in sorted(counters.sizes.items())
        ],
    )


def duration(count: int, seconds: float) -> pb.StatisticDuration:
    """How often, and how long in all, in nanoseconds."""
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))
