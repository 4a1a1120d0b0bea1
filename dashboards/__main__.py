"""Writes the dashboards into the chart: `python -m dashboards`, or `make dashboards`. A test compares them."""

from __future__ import annotations

import json
from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.panel import Board

FOLDER = Path(__file__).resolve().parents[1] / "charts/inferencehub/files/dashboards"


def text_of(board: Board) -> str:
    """The file of a dashboard."""
    return json.dumps(board.json(BOARDS), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(text_of(board))


if __name__ == "__main__":
    main()
