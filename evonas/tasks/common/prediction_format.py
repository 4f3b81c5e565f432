"""What a network's answer is: the numbers behind an image, in the labels' own units.

Plain data, which stands in exported files, so that whoever reads one needs neither torch nor
the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from evonas.errors import InputError

#: Name of a task's loss on images that are not trained on, where it stands beside its metrics.
HELD_OUT_LOSS = "held_out_loss"
Kind = Literal["angles", "values", "classes", "points"]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Answer:
    """A task's answer for n images.

    Attributes:
        kind: ``angles``: (n, k) degrees (``evonas.core.rotations``). ``values``: (n, k) quantities.
            ``classes``: (n, k) shares that add up to 1. ``points``: (n, k, 3) x and y in sides
            of the standard crop (0 left or top, 1 right or bottom) and confidence.
        columns: the k angles, quantities, classes or points, by name.
        unit: of the numbers, for people.
        label: the label that has the classes; empty for other kinds.
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
        """Return the answer of plain data.

        Raises:
            InputError: the data are none.
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
