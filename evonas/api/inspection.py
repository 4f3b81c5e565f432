"""Descriptions of data sets and backbones: counts, labels, shapes and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.core import registry
from evonas.core.overrides import as_data
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone, NetworkCost, Shape
from evonas.models.full_network import TruncatedBackbone
from evonas.report.dataset_summary import Survey
from evonas.report.tables import Table
from evonas.runs.callbacks import Callback, CallbackList

_FEW = 16  # taps that are always all shown
_BYTES = 2  # of a value in the feature cache
_IMAGES = 1000


@dataclass(frozen=True)
class DataDescription:
    """What a data set holds, read from end to end.

    Attributes:
        name: of the reader.
        content: counts by split, statistics of labels, what was dropped, as plain data.
        tables: the same for people.
        sheet: file of the contact sheet; None where none was asked for or no image is readable.
        unreadable: image name -> why it cannot be decoded.
    """

    name: str
    content: dict[str, Any]
    tables: tuple[Table, ...] = field(repr=False)
    sheet: Path | None
    unreadable: dict[str, str]

    def check(self) -> None:
        """Refuse a data set with images that cannot be decoded.

        Raises:
            InputError: there are such images.
        """
        if self.unreadable:
            raise InputError(
                f"data {self.name}: {len(self.unreadable)} of {self.content['images']} images "
                "cannot be decoded, named above: repair or remove them, or train with "
                "features.strict=false"
            )


def describe_data(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    sheet: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
) -> DataDescription:
    """Read a data set from end to end: every label and every image.

    Args:
        name: of the reader; see ``list_datasets``.
        options: of the reader, such as ``{"root": "300W_LP"}``.
        sheet: file for a contact sheet of 40 images (PNG); None: none is written.
        callbacks: receive progress.

    Raises:
        InputError: the data set cannot be read, or the sheet cannot be written. Images that
            cannot be decoded are listed in the result; see ``DataDescription.check``.

    Examples:
        >>> evonas.describe_data("synthetic_faces", {"identities": 12}).content["images"]
        240
    """
    progress = CallbackList(callbacks).on_progress
    dataset: Dataset = registry.create("data", name, as_data(options or {}))
    survey = Survey.of(dataset, progress)
    file = Path(sheet) if sheet is not None and survey.sheet is not None else None
    if survey.sheet is not None and file is not None:
        try:
            survey.sheet.save(file)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file}: the contact sheet cannot be written ({error}): choose a PNG file with "
                "--sheet"
            ) from error
    return DataDescription(
        name, survey.to_dict(), tuple(survey.tables()), file, dict(survey.unreadable)
    )


@dataclass(frozen=True)
class TapDescription:
    """A tap of a backbone.

    Attributes:
        name: of the tap.
        shape: (channels, height, width) of its map.
        macs: multiply-adds from the image up to the tap.
        params: parameters up to the tap.
        not_counted: operators up to the tap that have no multiply-adds.
    """

    name: str
    shape: Shape
    macs: int
    params: int
    not_counted: tuple[str, ...]

    @property
    def megabytes_per_1000_images(self) -> float:
        """Size of the cached maps of 1000 images in one view, in 10^6 bytes."""
        channels, height, width = self.shape
        return channels * height * width * _BYTES * _IMAGES / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "tap": self.name,
            "shape": list(self.shape),
            "macs": self.macs,
            "params": self.params,
            "megabytes_per_1000_images": self.megabytes_per_1000_images,
            "not_counted": list(self.not_counted),
        }


@dataclass(frozen=True)
class BackboneDescription:
    """The taps of a backbone and what each of them costs.

    Attributes:
        name: of the backbone.
        input_size: side of its square input, pixels.
        taps: from input to output.
        whole: cost of the whole network, with what stands behind the taps; None: there is none.
        not_shown: number of taps deep inside that were left out.
        remarks: what was assumed about the network.
    """

    name: str
    input_size: int
    taps: tuple[TapDescription, ...]
    whole: NetworkCost | None
    not_shown: int
    remarks: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """A row for each tap; costs are those from the image up to the tap."""
        rows = [
            [
                *(tap.name, "x".join(map(str, tap.shape)), f"{tap.macs:,}", f"{tap.params:,}"),
                f"{tap.megabytes_per_1000_images:,.1f}",
            ]
            for tap in self.taps
        ]
        columns = ["tap", "map", "multiply-adds", "parameters", "MB/1000 images"]
        size = self.input_size
        title = f"{self.name}: {size}x{size} pixels; costs are those up to the tap"
        return Table(title, columns, rows, self._notes(), names=1)

    def _notes(self) -> list[str]:
        notes = ["map: channels x height x width", *self.remarks]
        if self.whole is not None:
            text = f"{self.whole.macs:,} multiply-adds, {self.whole.params:,} parameters"
            notes.append(f"whole network, with what stands behind the taps: {text}")
        if missed := sorted({operator for tap in self.taps for operator in tap.not_counted}):
            notes.append(f"not in the multiply-adds: {', '.join(missed)}")
        if self.not_shown:
            notes.append(f"{self.not_shown} more taps inside these parts: --all shows them")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "backbone": self.name,
            "input_size": self.input_size,
            "taps": [tap.to_dict() for tap in self.taps],
            "whole": None if self.whole is None else self.whole._asdict(),
            "not_shown": self.not_shown,
            "remarks": list(self.remarks),
        }


def describe_backbone(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    every_tap: bool = False,
    callbacks: Iterable[Callback] = (),
) -> BackboneDescription:
    """Return the taps of a backbone: shape, cost up to each, and how much its features take.

    Args:
        name: a registered backbone; see ``list_backbones``.
        options: of the backbone, such as ``{"weights": "FILE"}``.
        every_tap: count every tap, however many there are; else, of more than 16, the parts near
            the top and the last of each shape.
        callbacks: receive progress.

    Raises:
        InputError: the name or an option is wrong, the backbone cannot be made, or its cost
            cannot be counted on a trace.

    Examples:
        >>> [tap.name for tap in evonas.describe_backbone("synthetic_face").taps]
        ['block1', 'block2', 'block3', 'block4']
    """
    backbone: Backbone = registry.create("backbone", name, as_data(options or {}))
    progress = CallbackList(callbacks).on_progress
    shown = list(backbone.taps) if every_tap else backbone.informative_taps(_FEW)
    taps = []
    for done, tap in enumerate(shown, start=1):
        taps.append(_tap(backbone, tap))
        progress("counting taps", done, len(shown))
    return BackboneDescription(
        name,
        backbone.input_size,
        tuple(taps),
        backbone.full_cost(),
        len(backbone.taps) - len(shown),
        tuple(backbone.remarks()),
    )


def _tap(backbone: Backbone, tap: str) -> TapDescription:
    upto = TruncatedBackbone(backbone, tap)
    try:
        cost = count(upto, tuple(upto.example().shape[1:]))
    except (RuntimeError, TypeError, ValueError) as error:  # a user's module may not be traceable
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"tap {tap!r}: its cost cannot be counted on a trace ({reason})"
        ) from error
    missed = tuple(operator for operator, _ in cost.uncounted)
    return TapDescription(tap, backbone.taps[tap], cost.macs, cost.params, missed)
