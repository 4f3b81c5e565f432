"""Make traced graphs independent of the device of the example that they were traced with."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate


def follow_input(graph: fx.Graph) -> None:
    """Replace the devices in a graph's arguments by the device of its input.

    Operators that create or copy tensors (``arange``, ``zeros``, ``full``) have a device as an
    argument, which does not change when the module is moved to a GPU.

    Args:
        graph: changed in place, if it contains a device.
    """
    nodes = [node for node in graph.nodes if _has_device((node.args, node.kwargs))]
    if not nodes:
        return
    images = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_after(images):
        device = graph.call_function(getattr, (images, "device"))
    for node in nodes:
        node.args, node.kwargs = map_aggregate(
            (node.args, node.kwargs),
            lambda part: device if isinstance(part, torch.device) else part,
        )


def _has_device(arguments: Any) -> bool:
    """Whether arguments of a node, possibly nested, contain a device."""
    parts: list[Any] = []
    map_aggregate(arguments, parts.append)
    return any(isinstance(part, torch.device) for part in parts)
