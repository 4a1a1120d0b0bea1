"""The parts of `make sbom` that need none of its programs."""

from __future__ import annotations

import pytest

from scan.sbom import IMAGES, python_of, with_hashes
from scan.scanners import DOCKERFILES


def test_a_bill_has_the_hashes_of_the_lock() -> None:
    files = [
        {
            "type": "distribution",
            "url": "https://example.org/a",
            "hashes": [{"alg": "SHA-256", "content": "0" * 64}],
        }
    ]
    lock = {"components": [{"purl": "pkg:pypi/a@1", "externalReferences": files}]}
    made = with_hashes({"components": [{"purl": "pkg:pypi/a@1"}]}, lock)
    assert made["components"][0]["externalReferences"] == files
    with pytest.raises(SystemExit, match="pkg:pypi/b@1"):
        with_hashes({"components": [{"purl": "pkg:pypi/b@1"}]}, lock)


def test_there_is_a_dockerfile_with_its_python_for_each_bill() -> None:
    assert {f"Dockerfile.{image}" for image in IMAGES} == set(DOCKERFILES)
    assert {python_of(image) for image in IMAGES} == {"3.13"}
