"""Schemas of the files that pruning and quantization leave; see ``file_schemas``.

==========================  ================================================================
``prune.json``              ``PruneResult``
``quantize.json``           ``QuantizeResult``
==========================  ================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from pydantic import StrictStr
from typing_extensions import TypedDict  # pydantic does not take that of typing before 3.12

from evonas.runs.file_schemas import Count, Metric, Number, Plain


class Reduced(TypedDict):
    """Cost of a network, and by how much it is less than others.

    ``less_in_percent``: such as ``macs_of_whole``; None where the other network is not known.
    """

    macs: Count
    params: Count
    less_in_percent: dict[StrictStr, Number | None]


class Judged(TypedDict):
    """The images that judge: name of the split, and their number."""

    side: StrictStr
    images: Count


#: Name of a network -> its cost; there are others beside these two.
Costs = TypedDict("Costs", {"up to the tap, with head": Reduced, "pruned, with head": Reduced})


class Errors(TypedDict):
    """Metrics of the network before pruning, and of the result; there are steps between."""

    whole: Mapping[str, Metric]
    pruned: Mapping[str, Metric]


#: Content of prune.json. ``from``: the folder of the network; ``maps``: which filters of each map
#: were asked for, and kept; ``fixed``: map and why none of its filters can go; ``cost``: name of a
#: network -> its cost; ``difference``: of the pruned network from the whole one with zeros,
#: relative to the largest value.
PruneResult = TypedDict(
    "PruneResult",
    {
        "format": Any,
        "from": StrictStr,
        "network": StrictStr,
        "repeat": Count,
        "tap": StrictStr,
        "settings": Plain,
        "maps": list[Plain],
        "fixed": Sequence[Sequence[StrictStr]],
        "cost": Costs,
        "judged": Judged,
        "metrics": Errors,
        "difference": Number,
        "environment": Plain,
        "origin": Plain,
    },
)


class Bytes(TypedDict):
    """Size of a network before and after, in bytes, and the quotient."""

    before: Count
    after: Count
    ratio: Number


class QuantizeResult(TypedDict):
    """Content of quantize.json.

    ``before``, ``after``: metrics of the float network and of the file; ``operators``: how many
    compute with integers; ``latency``: runtime -> milliseconds; ``training``: loss and metrics of
    each epoch of quantization-aware training.
    """

    format: NotRequired[Any]
    evonas: NotRequired[StrictStr]
    network: StrictStr
    repeat: Count
    tap: StrictStr
    file: StrictStr
    settings: Plain
    seed: Count
    calibration_images: Count
    judged_on: Plain
    before: Mapping[str, Metric]
    after: Mapping[str, Metric]
    bytes: Bytes
    operators: Plain
    latency: dict[StrictStr, Plain]
    training: Sequence[Mapping[str, Metric]]
    seconds: dict[StrictStr, Number]
    cpu: StrictStr
    packages: dict[StrictStr, StrictStr]
    notes: list[StrictStr]
