"""Summary of a data set: tables of splits, labels and classes, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.core.rotations import ANGLES
from evonas.data.base import Dataset
from evonas.errors import UnreadableImage
from evonas.report import image_drawing as drawing
from evonas.report.tables import Table

_PANEL = 150  # pixels a side on the sheet
_COLUMNS, _ROWS = 8, 5
_PARTS = (".x", ".y", ".v")
_LISTED = 10  # names in a line of the table's notes


@dataclass
class Survey:
    """Summary of a data set after decoding every image.

    Attributes:
        dataset: the data set.
        unreadable: image name -> error of its decoding.
        sheet: the contact sheet; None where no image is readable.
    """

    dataset: Dataset
    unreadable: dict[str, str] = field(default_factory=dict)
    sheet: Image.Image | None = None

    @classmethod
    def of(cls, dataset: Dataset, progress: Callable[[str, int, int], None]) -> Survey:
        """Decode every image and draw a contact sheet of evenly spaced ones."""
        survey, panels = cls(dataset), []
        shown = set(np.linspace(0, len(dataset) - 1, _COLUMNS * _ROWS).astype(int).tolist())
        for index in range(len(dataset)):
            try:
                image = dataset.image(index)
            except UnreadableImage as error:
                survey.unreadable[dataset.describe(index)] = str(error)
            else:
                if index in shown:
                    panels.append(panel(dataset, index, image))
            progress("images", index + 1, len(dataset))
        if panels:
            survey.sheet = drawing.grid(panels, _COLUMNS)
        return survey

    def tables(self) -> list[Table]:
        """Return tables of splits, quantities, key points and classes, without empty ones."""
        data = self.dataset
        rows = [
            [side, str(len(where)), str(len(np.unique(data.groups[where])))]
            for side, where in data.splits.items()
        ]
        rows.append(["all", str(len(data)), str(len(np.unique(data.groups)))])
        notes = [data.protocol] if data.protocol else []
        for reason, names in data.dropped.items():
            notes.append(f"dropped, {reason}: {len(names)} ({_some(names)})")
        notes += [f"unreadable: {reason}" for reason in self.unreadable.values()]
        for name in data.missing:
            lacking = int(np.isnan(data.labels[name]).sum())
            notes.append(f"without {name}: {lacking} images, for tasks that allow it")
        tables = [Table("Images", ["split", "images", "groups"], rows, notes, 1)]
        tables += [table for table in (self._quantities(), self._points()) if table.rows]
        tables += self._classes()
        leaks = [f"LEAKY: {data.leaky}"] if data.leaky else []
        return [replace(table, notes=[*table.notes, *leaks]) for table in tables]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        data = self.dataset
        return {
            "images": len(data),
            "groups": len(np.unique(data.groups)),
            "splits": {side: len(where) for side, where in data.splits.items()},
            "labels": {
                name: _classes(data, name) or _statistics(values)
                for name, values in data.labels.items()
            },
            "protocol": data.protocol,
            "leaky": data.leaky,
            "dropped": {reason: list(names) for reason, names in data.dropped.items()},
            "unreadable": self.unreadable,
            "fingerprint": data.fingerprint,
        }

    def _quantities(self) -> Table:
        data, rows = self.dataset, []
        for name, values in data.labels.items():
            if not data.classes.get(name) and not name.endswith(_PARTS):
                rows.append([name, *(f"{v:.2f}" for v in _statistics(values).values())])
        return Table("Quantities", ["label", *_statistics(np.zeros(1))], rows, names=1)

    def _points(self) -> Table:
        rows = []
        for name in _points_of(self.dataset):
            seen = np.asarray(self.dataset.labels[f"{name}.v"])
            shares = [f"{100 * float((seen == v).mean()):.1f} %" for v in (2, 1, 0)]
            rows.append([name, *shares])
        return Table("Key points", ["point", "visible", "hidden", "not labelled"], rows, names=1)

    def _classes(self) -> list[Table]:
        data, tables = self.dataset, []
        for name in (name for name in data.labels if data.classes.get(name)):
            counts = _classes(data, name)
            rows = [
                [label, *(str(count) for count in by_side.values())]
                for label, by_side in counts.items()
            ]
            heads = ["class", "all", *data.splits]
            tables.append(Table(f"Classes of {name}", heads, rows, names=1))
        return tables


def panel(dataset: Dataset, index: int, image: NDArray[np.uint8]) -> Image.Image:
    """Return the standard crop of an image with its labels drawn on it."""
    height, width = image.shape[:2]
    margin = dataset.margin_of(index)
    x, y = round(width * margin), round(height * margin)
    inner = Image.fromarray(image[y : height - y, x : width - x])
    picture = inner.resize((_PANEL, _PANEL), Image.Resampling.BICUBIC)
    labels = dataset.labels
    if {"yaw", "pitch"} <= {name for name in labels if np.isfinite(labels[name][index])}:
        drawing.axes(picture, [float(labels[a][index]) if a in labels else 0.0 for a in ANGLES])
    names = _points_of(dataset)
    if names:
        places = [[float(labels[name + part][index]) for part in _PARTS] for name in names]
        drawing.points(picture, np.array(places))
    name = dataset.describe(index).rsplit("/", 1)[-1]
    return drawing.captioned(picture, [name, _words(dataset, index)])


def _words(dataset: Dataset, index: int) -> str:
    """Return the labels of an image as one line."""
    found = []
    for name, values in dataset.labels.items():
        names = dataset.classes.get(name)
        value = float(values[index])
        if np.isnan(value):
            found.append(f"no {name}")
        elif names:
            found.append(names[int(value)])
        elif name in ANGLES:
            found.append(f"{name[0]} {value:.0f}")
        elif not name.endswith(_PARTS) and "." not in name:
            found.append(f"{name} {value:.4g}")
    return ", ".join(found)


def _points_of(dataset: Dataset) -> list[str]:
    stems = [name[:-2] for name in dataset.labels if name.endswith(".v")]
    return [stem for stem in stems if {f"{stem}{part}" for part in _PARTS} <= set(dataset.labels)]


def _statistics(values: NDArray[np.floating]) -> dict[str, float]:
    kinds: Mapping[str, Any] = {
        "lowest": np.min,
        "mean": np.mean,
        "median": np.median,
        "highest": np.max,
        "sd": np.std,
    }
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return {name: float(of(known)) for name, of in kinds.items()}


def _classes(data: Dataset, name: str) -> dict[str, dict[str, int]]:
    """Return class -> side -> number of images; empty for a quantity."""
    sides = {"all": np.arange(len(data)), **data.splits}
    numbers = np.asarray(data.labels[name])
    return {
        label: {side: int((numbers[where] == k).sum()) for side, where in sides.items()}
        for k, label in enumerate(data.classes.get(name, ()))
    }


def _some(names: Any) -> str:
    listed = ", ".join(list(names)[:_LISTED])
    return listed + (", ..." if len(names) > _LISTED else "")
