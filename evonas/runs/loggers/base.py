"""What every logger offers."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from evonas.core.registry import name_of
from evonas.errors import InputError
from evonas.runs.run_store import Trial


class Logger(ABC):
    """Writes a search down for another tool.

    A log has one step for each distinct training, in the order of the journal, so it is the
    same for any number of workers, and a resumed search goes on where the log ends.

    Args:
        folder: of the run.

    Attributes:
        needs: the package that is imported, and what to install for it.

    Raises:
        InputError: the package is missing.
    """

    needs: ClassVar[tuple[str, str]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package, install = self.needs
        try:
            importlib.import_module(package)
        except ImportError as error:
            name = name_of(type(self))
            raise InputError(
                f"logger={name}: expected the package {package}, which cannot be imported here "
                f"({error}): pip install '{install}'"
            ) from error

    @abstractmethod
    def begin(self, experiment: Mapping[str, Any]) -> int:
        """Open the log, or go on with the one that is there.

        Args:
            experiment: of the search, resolved.

        Returns:
            The last step that the log holds; 0 for a new one.
        """

    @abstractmethod
    def trial(self, step: int, trial: Trial, values: Mapping[str, float]) -> None:
        """Write a training down; it is on the disk, or sent, when this returns.

        Args:
            step: its number, from 1.
            trial: it; its ``curve`` and ``losses`` are the error and the training loss of each
                epoch.
            values: name -> finite number, to be drawn over the steps.
        """

    @abstractmethod
    def finish(self, step: int, winner: Mapping[str, Any], file: Path) -> None:
        """Write the winner down.

        Args:
            step: trainings of the whole search.
            winner: content of best.json.
            file: best.json.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of the log; the search is over, or was stopped."""
