"""Tables of ``evonas export``: inputs and outputs, latency and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evonas.deployment.quantization.tables import latency
from evonas.report.tables import Table


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the table of inputs and outputs, and the table of latency and size.

    Args:
        found: content of the .json beside the file.
    """
    size = f"the file: {found['bytes'] / 1e6:.3f} MB (decimal)"
    return [_ends(found), latency(found, [size, *found["notes"]])]


def _ends(found: Mapping[str, Any]) -> Table:
    side, answer, parity = found["input"]["size"], found["answer"], found["parity"]
    shape = f"(n, {len(answer['columns'])}{', 3' if answer['kind'] == 'points' else ''})"
    rows = [
        ["images", f"(n, 3, {side}, {side})", "float32, RGB in 0..255"],
        [found["output"], shape, f"{', '.join(answer['columns'])}; {answer['unit']}"],
    ]
    notes = [
        f"largest difference from {'the quantised file' if found['quantised'] else 'PyTorch'} on "
        f"{parity['images']} images of the {parity['split']}: "
        f"{parity['largest_difference']:.1e} {parity['unit']}; allowed {parity['allowed']:.1e}"
    ]
    title = f"{found['network']} on {found['tap']}, exported: what goes in and out"
    return Table(title, ["", "shape", "what it is"], rows, notes, names=3)
