"""The file of limits that are not those of one key: JSON for tenants, models, and addresses.

    {"tenants": [{"tenant": "search", "rate": 100, "concurrency": 50}, {"tenant": "*", "rate": 10}],
     "models": [{"model": "v1-*", "rows": 500}],
     "addresses": {"rate": 5, "burst": 20, "body_bytes": 1000000}}

The first entry that fits a tenant or a model counts, and each tenant, model or address has the whole limit for itself.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from inferencehub.core.auth.limits import LimitFields, Limits
from inferencehub.core.files.watched import BadFile, WatchedFiles

MOST_KEPT = 10_000  # names whose limits are kept; callers choose the names


class TenantEntry(LimitFields, frozen=True, forbid_unknown_fields=True):
    """What all calls of a tenant may use together; `tenant` is a pattern, as a shell has them."""

    tenant: str


class ModelEntry(LimitFields, frozen=True, forbid_unknown_fields=True):
    """What all calls of a model may use together; `model` is a pattern, as a shell has them."""

    model: str


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    tenants: tuple[TenantEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    addresses: LimitFields | None = None


class Named:
    """The limits of names, by the first pattern that fits.

    Args:
        entries: the patterns with their limits.
    """

    def __init__(self, entries: list[tuple[str, Limits | None]]) -> None:
        self._entries = entries
        self._known: dict[str, Limits | None] = {}

    def of(self, name: str) -> Limits | None:
        """The limits of a name; None for no limit."""
        if name in self._known:
            return self._known[name]
        found = next((limits for pattern, limits in self._entries if fnmatchcase(name, pattern)), None)
        if len(self._known) < MOST_KEPT:
            self._known[name] = found
        return found


class LimitsFile(WatchedFiles):
    """The limits in a file, which is read again when it changes.

    Args:
        file: see the module's text.
        setting: the name of the setting that names the file.
        countable: see `ApiKeys`.

    Raises:
        BadFile: if the file can't be used.
    """

    tenants: Named
    models: Named
    addresses: Limits | None

    def __init__(self, file: str, setting: str, countable: bool = True) -> None:
        self._file = file
        self._countable = countable
        super().__init__(setting, {setting: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        try:
            read = read_limits(contents[0])
            for entry in () if self._countable else read.tenants:
                entry.check_countable(f"tenant '{entry.tenant}'")
        except ValueError as error:
            raise BadFile(f"{self.setting} ({self._file}) cannot be used: {error}") from None
        self.tenants = Named([(entry.tenant, entry.limits()) for entry in read.tenants])
        self.models = Named([(entry.model, entry.limits()) for entry in read.models])
        self.addresses = None if read.addresses is None else read.addresses.limits()


def read_limits(text: bytes) -> Contents:
    """What a file says.

    Raises:
        ValueError: if it is no such file; the text says what was expected.
    """
    try:
        read = msgspec.json.decode(text, type=Contents)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    for tenant in read.tenants:
        tenant.check(f"tenant '{tenant.tenant}'")
    for model in read.models:
        model.check(f"model '{model.model}'")
        if model.body_bytes is not None:
            raise ValueError(
                f"model '{model.model}' has body_bytes, but a body is read before its model is known"
            )
        check_not_daily(model, f"model '{model.model}'")
    if read.addresses is not None:
        read.addresses.check("addresses")
        check_not_daily(read.addresses, "addresses")
    return read


def check_not_daily(fields: LimitFields, who: str) -> None:
    """Check that what has no quotas of a day has none.

    Raises:
        ValueError: if it has one.
    """
    if fields.calls_per_day is not None or fields.rows_per_day is not None:
        raise ValueError(f"{who} has a quota of a day, which only keys and tenants have")
