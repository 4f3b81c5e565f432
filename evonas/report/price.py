"""What a head network adds to the network that it stands on, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MEGABYTES = 4e-6  # of a parameter as a 32-bit float


def price(macs: int, params: int, backbone: Mapping[str, Any] | None, counts: str = "head") -> str:
    """Return the sentence; empty if the cost of the backbone is not known.

    Args:
        macs, params: multiply-adds and parameters of the head network.
        backbone: the entry ``backbone_cost`` of best.json (``file_schemas.BackboneCost``).
        counts: ``objective.counts``.
    """
    if not backbone:
        return ""
    tap, upto, full = backbone["tap"], backbone["up_to_tap"], backbone.get("full")
    if counts == "total" or not upto["macs"]:
        which = f"The whole network up to {tap} with its head" if upto["macs"] else "The network"
        size = _short((params + upto["params"]) * _MEGABYTES)
        return f"{which}: {_short((macs + upto['macs']) / 1e6)} M multiply-adds, {size} MB."
    size = f"{_short(params * _MEGABYTES)} MB"
    if full and full["macs"]:
        return f"Adds {_short(100 * macs / full['macs'])} % operations and {size} to your network."
    share = _short(100 * macs / upto["macs"])
    return (
        f"Adds {share} % to the operations of the backbone up to {tap}, and {size}; the cost of "
        f"the layers after it is not known."
    )


def _short(value: float) -> str:
    """Return a number with one decimal; small ones with two digits."""
    return f"{value:,.1f}" if value >= 0.095 else f"{value:.2g}"
