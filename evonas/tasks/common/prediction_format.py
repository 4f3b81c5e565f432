"""Format of a network's predictions: kind, columns and unit.

It is plain data and stored in exported files, so that reading them needs neither torch nor the
task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from evonas.errors import InputError

#: Name, among a task's metrics, of its loss on images that are not trained on.
HELD_OUT_LOSS = "held_out_loss"
Kind = Literal["angles", "values", "classes", "labels", "points", "several"]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Answer:
    """Format of a task's predictions for n images.

    Attributes:
        kind: ``angles``: (n, k) degrees (``evonas.core.rotations``). ``values``: (n, k) quantities.
            ``classes``: (n, k) probabilities that add up to 1. ``labels``: (n, k) probabilities,
            each of its own. ``points``: (n, k, 3) x and y in sides of the standard crop (0 left
            or top, 1 right or bottom) and confidence. ``several``: (n, k) the columns of
            ``parts``, one after another.
        columns: names of the k angles, quantities, classes, labels or points.
        unit: unit of the values, for display.
        label: name of the label with the classes; empty for other kinds.
        parts: of ``several``: name of each task -> format of its predictions.
    """

    kind: Kind
    columns: tuple[str, ...]
    unit: str
    label: str = ""
    parts: Mapping[str, Answer] = field(default_factory=dict)

    @classmethod
    def of_several(cls, parts: Mapping[str, Answer], unit: str) -> Answer:
        """Return the format of the predictions of several tasks, one after another."""
        columns = [f"{name}.{column}" for name, part in parts.items() for column in part.columns]
        return cls("several", tuple(columns), unit, "", dict(parts))

    @property
    def output(self) -> str:
        """Name of the output of an exported file, or a word for all of them."""
        return "probabilities" if self.kind in ("classes", "labels") else self.kind

    @property
    def outputs(self) -> dict[str, Answer]:
        """Name of each output of an exported .onnx file -> its format; one for each task."""
        return dict(self.parts) or {self.output: self}

    def split(self, values: Any) -> Iterator[tuple[str, Answer, Any]]:
        """Yield name, format and columns of each part of predictions (..., k) of ``several``."""
        start = 0
        for name, part in self.parts.items():
            end = start + len(part.columns)
            yield name, part, values[..., start:end]
            start = end

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        plain = {"kind": self.kind, "columns": list(self.columns), "unit": self.unit}
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        return {**plain, "label": self.label, **({"parts": parts} if parts else {})}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """Return the format that ``to_dict`` wrote.

        Raises:
            InputError: a key is missing or has a wrong value.
        """
        kind, columns = data.get("kind"), data.get("columns")
        texts = [data.get("unit"), data.get("label", "")]
        named = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
        inner, parts = data.get("parts", {}), {}
        whole = isinstance(inner, Mapping) and bool(inner) == (kind == "several")
        if whole and named and kind == "several":
            parts = {str(name): cls.from_dict(part) for name, part in inner.items()}
            whole = cls.of_several(parts, "").columns == tuple(columns or ())
        if (
            kind not in KINDS
            or not named
            or not columns
            or not all(map(_is_text, texts))
            or not whole
        ):
            raise InputError(
                f"expected an answer with a kind ({', '.join(KINDS)}), columns and a unit, "
                f"got {dict(data)}"
            )
        return cls(kind, tuple(columns), str(texts[0]), str(texts[1]), parts)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
