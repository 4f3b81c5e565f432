"""``evonas backbones show``: the taps of a backbone and what each of them costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.progress_bars import progress_bars
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone, informative_taps
from evonas.models.full_network import TruncatedBackbone

_FEW = 16  # taps that are always all shown
_BYTES = 2  # of a value in the feature cache
_IMAGES = 1000


def run(name: str, options: Sequence[str], everything: bool, as_json: bool) -> None:
    """Print the taps of a backbone, from its input to its output.

    Args:
        name: a registered backbone.
        options: ``key=value`` of it; values are YAML, ``arguments.width=8`` goes inside.
        everything: count every tap, however many there are.
        as_json: print JSON instead of a table.

    Raises:
        InputError: the name or an option is wrong, or the backbone cannot be made.
    """
    backbone: Backbone = registry.create(
        "backbone", name, config.options(word.removeprefix("backbone.") for word in options)
    )
    console = Console(stderr=as_json)
    shown = list(backbone.taps) if everything else informative_taps(backbone.taps, _FEW)
    rows = []
    with progress_bars(console) as progress:
        for done, tap in enumerate(shown, start=1):
            rows.append(_row(backbone, tap))
            if console.is_terminal:
                progress("counting taps", done, len(shown))
    whole = backbone.full_cost()
    if as_json:
        facts = {"backbone": name, "input_size": backbone.input_size, "taps": rows}
        facts |= {"whole": None if whole is None else whole._asdict()}
        print(json.dumps(facts | {"not_shown": len(backbone.taps) - len(shown)}, indent=2))
        return
    table = Table(box=None)
    table.add_column("tap", overflow="fold")
    for title in ("channels x height x width", "multiply-adds", "parameters", "MB/1000 images"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row["tap"],
            "x".join(map(str, row["shape"])),
            f"{row['macs']:,}",
            f"{row['params']:,}",
            f"{row['megabytes_per_1000_images']:,.1f}",
        )
    size = backbone.input_size
    console.print(f"{name}: {size}x{size} pixels; costs are those up to the tap", soft_wrap=True)
    console.print(table)
    if whole is not None:
        text = f"{whole.macs:,} multiply-adds, {whole.params:,} parameters"
        console.print(f"whole network, with what stands behind the taps: {text}", soft_wrap=True)
    missed = sorted({operator for row in rows for operator in row["not_counted"]})
    if missed:
        console.print(f"not in the multiply-adds: {', '.join(missed)}", soft_wrap=True)
    if len(shown) < len(backbone.taps):
        left = len(backbone.taps) - len(shown)
        console.print(f"{left} more taps inside these parts: --all shows them", soft_wrap=True)


def _row(backbone: Backbone, tap: str) -> dict[str, Any]:
    upto = TruncatedBackbone(backbone, tap)
    try:
        cost = count(upto, tuple(upto.example().shape[1:]))
    except (RuntimeError, TypeError, ValueError) as error:  # a user's module may not be traceable
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"tap {tap!r}: its cost cannot be counted on a trace ({reason})"
        ) from error
    channels, height, width = backbone.taps[tap]
    return {
        "tap": tap,
        "shape": [channels, height, width],
        "macs": cost.macs,
        "params": cost.params,
        "megabytes_per_1000_images": channels * height * width * _BYTES * _IMAGES / 1e6,
        "not_counted": [operator for operator, _ in cost.uncounted],
    }
