"""Format of a network's predictions: kind, columns and unit.

It is plain data and stored in exported files, so that reading them needs neither torch nor the
task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from evonas.errors import InputError

#: Name, among a task's metrics, of its loss on images that are not trained on.
HELD_OUT_LOSS = "held_out_loss"
Kind = Literal["angles", "values", "classes", "points"]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Answer:
    """Format of a task's predictions for n images.

    Attributes:
        kind: ``angles``: (n, k) degrees (``evonas.core.rotations``). ``values``: (n, k) quantities.
            ``classes``: (n, k) probabilities that add up to 1. ``points``: (n, k, 3) x and y in
            sides of the standard crop (0 left or top, 1 right or bottom) and confidence.
        columns: names of the k angles, quantities, classes or points.
        unit: unit of the values, for display.
        label: name of the label with the classes; empty for other kinds.
    """

    kind: Kind
    columns: tuple[str, ...]
    unit: str
    label: str = ""

    @property
    def output(self) -> str:
        """Name of the output of an exported file."""
        return "probabilities" if self.kind == "classes" else self.kind

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "columns": list(self.columns)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """Return the format that ``to_dict`` wrote.

        Raises:
            InputError: a key is missing or has a wrong value.
        """
        kind, columns = data.get("kind"), data.get("columns")
        texts = [data.get("unit"), data.get("label", "")]
        named = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
        if kind not in KINDS or not named or not columns or not all(map(_is_text, texts)):
            raise InputError(
                f"expected an answer with a kind ({', '.join(KINDS)}), columns and a unit, "
                f"got {dict(data)}"
            )
        return cls(kind, tuple(columns), *map(str, texts))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
