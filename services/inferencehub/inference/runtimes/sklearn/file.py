"""A fitted estimator out of its file."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from inferencehub.core.values.errors import listed
from inferencehub.inference.runtimes.support.error_text import failed, named

TRUSTED = "trusted_types"  # the parameter of a config


def read_estimator(file: Path, trusted: Set[str]) -> Any:
    """The estimator in a file, which is skops if its suffix says so, and otherwise a pickle.

    skops builds only types that it knows to be harmless, and those in `trusted`. The list is in the model's config and not
    in the file itself, so a file that comes from elsewhere cannot vouch for itself.

    Args:
        file: the model file.
        trusted: names of further types, such as "my_package.Scaler".

    Raises:
        HubError: MODEL_FAILED if it has types that are not trusted, or is no fitted estimator.
        Exception: whatever the library raises for a file that it cannot read.
    """
    estimator = read_skops(file, trusted) if file.suffix == ".skops" else joblib.load(file)
    if not isinstance(estimator, BaseEstimator) and not hasattr(estimator, "predict"):
        kind = type(estimator).__name__
        raise failed(f"{file.name} holds a {kind}, expected an estimator of scikit-learn")
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        raise failed(f"{file.name} holds a {type(estimator).__name__} that is not fitted") from None
    return estimator


def read_skops(file: Path, trusted: Set[str]) -> Any:
    """What a skops file holds.

    Raises:
        HubError: MODEL_FAILED if it is no whole file of skops, or has types that are not trusted.
    """
    from skops.io import get_untrusted_types, load  # not needed for pickles

    try:
        types = set(get_untrusted_types(file=file))
    except (BadZipFile, KeyError) as error:  # KeyError: an archive without a schema
        raise failed(
            f"{file.name} cannot be loaded: it is no file of skops.io.dump, or it is cut off ({named(error)})"
        ) from None
    if made := sorted(name for name in types if name.startswith("__main__.")):
        raise failed(
            f"{file.name} needs {listed(made)}, which a script or a notebook has defined: put it into a module that the pod can "
            f"import, write the file anew with it, and list that name in the parameter {TRUSTED} of config.pbtxt"
        )
    if unknown := sorted(types - trusted):
        raise failed(
            f"{file.name} has types that are not trusted: {listed(unknown)}; if you trust them, list them in the parameter "
            f"{TRUSTED} of config.pbtxt, separated by commas"
        )
    return load(file, trusted=sorted(types))
