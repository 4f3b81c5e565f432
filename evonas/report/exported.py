"""Tables of ``evonas export``: what the file answers, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evonas.report.tables import Table


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Return what goes in and out, and latency and size.

    Args:
        found: content of the .json beside the file.
    """
    return [_ends(found), _latency(found)]


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


def _latency(found: Mapping[str, Any]) -> Table:
    rows = [
        [name, f"{one['p50']:.2f}", f"{one['p95']:.2f}", f"{one['ratio']:.2f}"]
        for name, one in found["latency"].items()
    ]
    seconds = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in found["seconds"].items())
    notes = [
        f"the file: {found['bytes'] / 1e6:.3f} MB (decimal)",
        f"{found['cpu']}; {', '.join(f'{k} {v}' for k, v in found['packages'].items())}",
        f"this took: {seconds}",
        *found["notes"],
    ]
    heads = ["", "p50, ms", "p95, ms", "times as fast"]
    return Table("Latency of one image, one thread, measured by turns", heads, rows, notes, names=1)
