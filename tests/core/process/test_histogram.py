"""Our histogram shows what prometheus_client's own shows."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Theirs

from inferencehub.core.process.histogram import Histogram
from inferencehub.core.process.metrics import ROWS, SECONDS

VALUES = st.one_of(st.sampled_from([*SECONDS, *ROWS, 0.0]), st.floats(0, 1000))


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\\']), VALUES)), st.sampled_from([SECONDS, ROWS]))
def test_it_shows_what_the_library_shows(seen: list[tuple[str, float]], bounds: tuple[float, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram("x_seconds", "how long", ("model",), bounds)
    ours.register(mine)
    library = Theirs("x_seconds", "how long", ("model",), buckets=bounds, registry=theirs)
    for model, value in seen:
        mine.labels(model).observe(value)
        library.labels(model).observe(value)
    text = generate_latest(theirs).decode().splitlines()
    assert generate_latest(ours).decode().splitlines() == [line for line in text if "_created" not in line]
