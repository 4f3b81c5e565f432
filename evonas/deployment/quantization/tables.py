"""Tables of ``evonas quantize``: errors, size and latency before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.report.tables import Table, in_unit


def tables(result: Mapping[str, Any], metrics: Sequence[str], unit: str) -> list[Table]:
    """Return the table of errors and size, and the table of latencies.

    Args:
        result: content of quantize.json.
        metrics: names of the main errors.
        unit: unit of the errors.
    """
    return [_errors(result, metrics, unit), latency(result)]


def _errors(result: Mapping[str, Any], metrics: Sequence[str], unit: str) -> Table:
    before, after, size = result["before"], result["after"], result["bytes"]
    settings, judged = result["settings"], result["judged_on"]
    rows = [
        [name, f"{before[name]:.3f}", f"{after[name]:.3f}", f"{after[name] - before[name]:+.3f}"]
        for name in metrics
    ]
    small, large = size["after"] / 1e6, size["before"] / 1e6
    rows.append(["MB", f"{large:.3f}", f"{small:.3f}", f"1/{size['ratio']:.2f}"])
    qat = f", trained for {len(result['training'])} epochs" if result["training"] else ""
    title = (
        f"{result['network']} on {result['tap']}, 8 bits ({settings['road']}{qat}): "
        f"{in_unit('errors', unit)} on {judged['images']} images, {judged['split']}"
    )
    notes = [
        "MB decimal; before: 32-bit floats of backbone up to the tap and head; after: the file",
        f"ranges from {result['calibration_images']} training images, seed {result['seed']}",
        *_operators(result["operators"]),
        *result["notes"],
    ]
    return Table(title, ["", "before", "after", "change"], rows, notes, names=1)


def _operators(operators: Mapping[str, Any]) -> list[str]:
    counts = [
        f"{done} of {every} {kind}"
        for kind, (done, every) in (
            ("convolutions", operators["convolutions"]),
            ("linear layers", operators["linears"]),
        )
        if every
    ]
    left = [f"{name} {count}" for name, count in operators["left"].items()]
    return [
        f"with integers: {', '.join(counts) or 'nothing'}",
        f"left in floats: {', '.join(left) or 'no other operator'}",
    ]


def latency(result: Mapping[str, Any], notes: Sequence[str] = ()) -> Table:
    """Return the table of latencies of one image in each runtime.

    Args:
        result: result with ``latency``, ``cpu``, ``packages`` and ``seconds``.
        notes: first notes of the table.
    """
    rows = [
        [name, f"{times['p50']:.2f}", f"{times['p95']:.2f}", f"{times['ratio']:.2f}"]
        for name, times in result["latency"].items()
    ]
    seconds = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in result["seconds"].items())
    below = [
        *notes,
        f"{result['cpu']}; {', '.join(f'{k} {v}' for k, v in result['packages'].items())}",
        f"this took: {seconds}",
    ]
    heads = ["", "p50, ms", "p95, ms", "times as fast"]
    return Table("Latency of one image, one thread, measured by turns", heads, rows, below, names=1)
