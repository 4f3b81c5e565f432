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
        size = _size(params + upto["params"])
        return f"{which}: {_short((macs + upto['macs']) / 1e6)} M multiply-adds, {size}."
    share, size = _share(macs, backbone), _size(params)
    if full and full["macs"]:
        return f"Adds {share} operations and {size} to your network."
    return (
        f"Adds {share} to the operations of the backbone up to {tap}, and {size}; the cost of "
        f"the layers after it is not known."
    )


def price_of_copy(
    before: tuple[int, int],
    after: tuple[int, int],
    lower: str,
    backbone: Mapping[str, Any],
    counts: str = "head",
) -> str:
    """Return the sentence on a head with trained layers below it.

    Where the head alone counts, they are a second copy of layers that a team runs anyway. Where the
    total counts, they run for the task alone, and cost what they cost before.

    Args:
        before: multiply-adds and parameters of the head alone.
        after: multiply-adds and parameters of the head and the second copy.
        lower: tap after which the copied layers begin, or ``image``.
        backbone: the entry ``backbone_cost`` of best.json (``file_schemas.BackboneCost``).
        counts: ``objective.counts``.
    """
    tap, full = backbone["tap"], backbone.get("full")
    layers = f"all layers up to {tap}" if lower == "image" else f"the layers from {lower} to {tap}"
    if counts == "total":
        whole = price(*before, backbone, counts).removesuffix(".")
        return f"{whole}, as before; {layers} are trained, since they run for this task alone."
    what = "operations" if full and full["macs"] else f"to the operations up to {tap}"
    (first, size), (second, whole) = (
        (_share(macs, backbone), _size(params)) for macs, params in (before, after)
    )
    return (
        f"Adds {second} {what} and {whole} to your network, which stays frozen beside a second "
        f"copy of {layers}; before: {first} and {size}."
    )


def percent(macs: int, backbone: Mapping[str, Any]) -> float:
    """Return multiply-adds in percent of the whole backbone, or else of that up to the tap."""
    full = backbone.get("full")
    base: int = full["macs"] if full and full["macs"] else backbone["up_to_tap"]["macs"]
    return 100.0 * macs / base


def _share(macs: int, backbone: Mapping[str, Any]) -> str:
    return f"{_short(percent(macs, backbone))} %"


def _size(params: int) -> str:
    return f"{_short(params * _MEGABYTES)} MB"


def _short(value: float) -> str:
    """Return a number with one decimal; small ones with two digits."""
    return f"{value:,.1f}" if value >= 0.095 else f"{value:.2g}"
