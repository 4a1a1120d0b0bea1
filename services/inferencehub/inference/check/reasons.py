"""What the log says of a failure, for a report that is read where there is no pod whose log could be looked at."""

from __future__ import annotations

import logging

from inferencehub.inference.runtimes.support.error_text import IN_LOG


class Reasons(logging.Handler):
    """Notes the last line of each traceback that is logged, as long as its `with` lasts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def __enter__(self) -> Reasons:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record's traceback, be it an exception here or one in a model's process."""
        trace = str(vars(record).get("traceback", ""))
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
        if trace:
            self.last = trace.rstrip().splitlines()[-1]

    def told(self, fault: str) -> str:
        """The sentence, with the reason in place of the hint at the log."""
        return fault.replace(IN_LOG, self.last) if self.last else fault
