"""Tables of ``evonas export``: inputs and outputs, latency and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evonas.deployment.quantization.tables import latency
from evonas.report.tables import Table, in_unit


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the table of inputs and outputs, and the table of latency and size.

    Args:
        result: content of the .json beside the file.
    """
    size = f"the file: {result['bytes'] / 1e6:.3f} MB (decimal)"
    return [_ends(result), latency(result, [size, *result["notes"]])]


def _ends(result: Mapping[str, Any]) -> Table:
    side, answer, parity = result["input"]["size"], result["answer"], result["parity"]
    largest = f"{parity['largest_difference']:.1e}"
    rows = [["images", f"(n, 3, {side}, {side})", "float32, RGB in 0..255"]]
    for name, part in (answer.get("parts") or {result["output"]: answer}).items():
        shape = f"(n, {len(part['columns'])}{', 3' if part['kind'] == 'points' else ''})"
        rows.append([name, shape, in_unit(", ".join(part["columns"]), part["unit"], "; ")])
    other = "backbone and head one after the other" if result["backbone"] == "onnx" else "PyTorch"
    notes = [
        f"largest difference from {'the quantised file' if result['quantised'] else other} on "
        f"{parity['images']} images of the {parity['split']}: "
        f"{in_unit(largest, parity['unit'], ' ')}; allowed {parity['allowed']:.1e}"
    ]
    if "embedding" in result:
        own = result["embedding"]
        rows.append([own["output"], f"(n, {own['size']})", "the backbone's own embedding"])
        notes.append(f"of its embeddings: {parity['embedding_difference']:.1e}")
    title = f"{result['network']} on {result['tap']}, exported: what goes in and out"
    return Table(title, ["", "shape", "what it is"], rows, notes, names=3)
