"""Predictions for the frames of a video as rows of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from evonas.core.files import writing


class FrameTable(AbstractContextManager["FrameTable"]):
    """Writes a row for each face of each frame, as soon as it is known.

    Args:
        path: file to write.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: csv.DictWriter[str] | None = None

    def __enter__(self) -> Self:
        with writing(self._path, "choose another file with --out"):
            self._stream = self._path.open("w", newline="", encoding="utf-8")
        return self

    def add(self, place: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            place: column -> value: frame, time, face and box.
            answer: prediction as plain data; see ``prediction_drawing.row``.
        """
        row = {**place, **dict(flat(answer))}
        if self._writer is None:
            self._writer = csv.DictWriter(self._stream, [*row], lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)

    def __exit__(self, *error: Any) -> None:
        self._stream.close()


def flat(answer: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the columns of a prediction: ``yaw``, ``pose.yaw``, ``scores.happy``, ``nose.x``."""
    for name, value in answer.items():
        if isinstance(value, Mapping):
            yield from flat(
                dict(sorted(value.items())) if name == "scores" else value, f"{before}{name}."
            )
        elif isinstance(value, list):
            for point in value:
                for key in ("x", "y", "confidence"):
                    yield f"{before}{point['name']}.{key}", point[key]
        else:
            yield f"{before}{name}", value
