"""Whether files are valid CycloneDX 1.6: python scan/valid.py FILE…, in the environment that `make sbom` makes."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main() -> None:
    """Validate the files that the arguments name; the exit code is 1 where one is not valid."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for name in sys.argv[1:]:
        if error := validator.validate_str(Path(name).read_text()):
            raise SystemExit(f"{name} is not valid CycloneDX 1.6: {error}")


if __name__ == "__main__":
    main()
