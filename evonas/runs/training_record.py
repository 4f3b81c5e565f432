"""Training record: the images and groups that training and validation used.

It lies beside weights as ``training_record.json``, so that no image that chose weights, an epoch
or an architecture judges them later. Images are recognised by the hash of their photo, groups by
the name that their reader gives them in every copy of the data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import keep
from evonas.data.base import Dataset
from evonas.runs import file_schemas
from evonas.runs.file_schemas import Record, UsedImages

FILE = "training_record.json"

_LEVELS = 2  # folders, from that of a file of weights upwards, in which its record may lie

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Use:
    """Images and groups that one side of a split has.

    Attributes:
        images: hashes of their photos.
        groups: ``reader/name`` of those that are known by name.
    """

    images: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def __or__(self, other: Use) -> Use:
        return Use(self.images | other.images, self.groups | other.groups)

    def to_dict(self) -> UsedImages:
        """Return plain data for JSON."""
        return {"images": sorted(self.images), "groups": sorted(self.groups)}


@dataclass(frozen=True)
class Overlap:
    """Which images of a data set training or validation used, (n,) each.

    Attributes:
        trained, validated: by the photo itself.
        trained_group, validated_group: by the group, whether or not by the photo.
    """

    trained: Mask
    validated: Mask
    trained_group: Mask
    validated_group: Mask

    @property
    def images(self) -> Mask:
        """Images whose photo trained or validated."""
        return self.trained | self.validated

    @property
    def groups(self) -> Mask:
        """Further images, of a group that trained or validated."""
        return (self.trained_group | self.validated_group) & ~self.images

    def flattery(self) -> str:
        """Return how many of these images training or validation used; empty if none."""
        validated = self.validated & ~self.trained
        counts = [
            (int(self.trained.sum()), "were trained on"),
            (int(validated.sum()), "validated, which chooses epochs and networks"),
            (int(self.groups.sum()), "show a person or source photo of those"),
        ]
        said = [f"{count} {what}" for count, what in counts if count]
        return f"of {len(self.trained)} images {', '.join(said)}" if said else ""


@dataclass(frozen=True)
class TrainingRecord:
    """What training and validation used, over all trainings that led to some weights."""

    train: Use = Use()
    validation: Use = Use()

    @classmethod
    def of(cls, dataset: Dataset) -> TrainingRecord:
        """Return the record of a training on a data set's splits.

        Raises:
            InputError: it has no training or no validation split, or a file cannot be read.
        """
        sides, hashes, groups = dataset.sides(), dataset.image_hashes(), dataset.recorded_groups()
        train, validation = (
            Use(frozenset(hashes[sides[side]].tolist()), frozenset(groups[sides[side]].tolist()))
            for side in ("train", "validation")
        )
        return cls(train, validation)

    @classmethod
    def load(cls, folder: Path) -> TrainingRecord | None:
        """Return the record in a folder; None if there is none.

        Raises:
            InputError: the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        found = file_schemas.read(path, Record, "a training record")
        train, validation = (
            Use(frozenset(side["images"]), frozenset(side["groups"]))
            for side in (found["train"], found["validation"])
        )
        return cls(train, validation)

    @classmethod
    def beside(cls, files: Iterable[Path]) -> TrainingRecord:
        """Return the records that lie beside files of weights or results, or just above, as one.

        A folder of weights may hold its record itself; a file that is not there has none.

        Raises:
            InputError: a record is damaged.
        """
        found = cls()
        for path in files:
            place = path.expanduser().absolute()
            if place.exists():
                for folder in [*([place] if place.is_dir() else []), *place.parents][:_LEVELS]:
                    found |= cls.load(folder) or cls()
        return found

    def __or__(self, other: TrainingRecord) -> TrainingRecord:
        return TrainingRecord(self.train | other.train, self.validation | other.validation)

    def text(self) -> str:
        """Return the content of the record's file, on one line: it holds a hash for each image."""
        content: Record = {
            "format": file_schemas.FORMAT,
            "train": self.train.to_dict(),
            "validation": self.validation.to_dict(),
        }
        return json.dumps(content) + "\n"

    def save(self, folder: Path) -> None:
        """Write the record into a folder.

        Raises:
            RunError: the file cannot be written.
        """
        keep(folder / FILE, self.text())

    def overlap(self, dataset: Dataset, rows: Indices) -> Overlap:
        """Return which of some images training or validation used.

        Args:
            dataset: that the images are of.
            rows: (n,) their numbers.

        Raises:
            InputError: a file cannot be read.
        """
        hashes = dataset.image_hashes()[rows].tolist()
        groups = dataset.recorded_groups()[rows].tolist()
        return Overlap(
            _among(hashes, self.train.images),
            _among(hashes, self.validation.images),
            _among(groups, self.train.groups),
            _among(groups, self.validation.groups),
        )


def _among(names: list[str], known: frozenset[str]) -> Mask:
    return np.array([bool(name) and name in known for name in names], np.bool_)
