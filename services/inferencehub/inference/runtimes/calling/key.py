"""The API key of a pod, which its models' calls show to the gateway."""

from __future__ import annotations

import re

from inferencehub.core.files.watched import BadFile, WatchedFiles

SETTING = "HUB_GATEWAY_KEY"
KEY = re.compile(rb"[!-~]{1,4096}")


class GatewayKey(WatchedFiles):
    """A file with one key, as `inferencehub key new` prints it.

    Args:
        file: its path.

    Raises:
        BadFile: if it can't be used.
    """

    def __init__(self, file: str) -> None:
        self.text = ""
        self._file = file
        super().__init__(SETTING, {SETTING: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`. Errors do not show the key.

        Raises:
            BadFile: if it is no key.
        """
        key = contents[0].strip()
        if not KEY.fullmatch(key):
            raise BadFile(
                f"{SETTING} names {self._file}, which has no key, expected one of printable ASCII in one line"
            )
        self.text = key.decode()
