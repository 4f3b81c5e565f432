"""Devices in a traced graph: tracing writes down that of the example, here the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate


def follow_input(graph: fx.Graph) -> None:
    """Replace the devices that a graph names by the device of its input.

    Operators that make tensors (``arange``, ``zeros``, ``full``) or copy them carry a device as
    an argument, which moving the module to a GPU does not change.

    Args:
        graph: changed in place; one that names no device stays as it is.
    """
    nodes = [node for node in graph.nodes if _devices((node.args, node.kwargs))]
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


def _devices(arguments: Any) -> list[torch.device]:
    found: list[torch.device] = []

    def look(part: Any) -> Any:
        if isinstance(part, torch.device):
            found.append(part)
        return part

    map_aggregate(arguments, look)
    return found
