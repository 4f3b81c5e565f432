"""What the tests of a finished search's files share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from command_line import Cli

from evonas.runs.run_store import Trial, read_journal

#: Networks that the search trained.
BUDGET = 6


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def of(folder: Path, *status: str) -> list[Trial]:
    return [trial for trial in read_journal(folder) if trial.status in status]


def new(evonas: Cli, tiny_file: Path, *words: object, finals: int = 0) -> tuple[Path, str]:
    """A further search that works; its folder and what it said."""
    folder = tiny_file.parent / "new"
    result = evonas("search", tiny_file, "--run-dir", folder, f"finals.networks={finals}", *words)
    assert (result[0], result[2]) == (0, ""), result
    return folder, result[1]
