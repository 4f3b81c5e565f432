"""Run an ONNX graph once: sizes of its tensors, and whether its batch size can be made free."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.models.backbones.common.taps import Channels, Triple
from evonas.models.backbones.onnx_graphs import rewriting
from evonas.models.backbones.onnx_graphs.cost import Sizes
from evonas.models.backbones.onnx_graphs.graph import Graph
from evonas.models.backbones.onnx_graphs.image_input import ImageInput
from evonas.models.backbones.onnx_graphs.reading import explain
from evonas.models.backbones.onnx_graphs.sessions import Sessions, open_session

#: Largest difference between two batch sizes, relative to the largest value of a tensor.
_SAME = 1e-3
#: Beginning of the names of operators that quantise by the range of all values of a batch.
_MIXING = "DynamicQuantize"


class Probed(NamedTuple):
    """A graph that was run once.

    Attributes:
        sessions: of the graph, whose input is ``images``.
        outputs: tensor -> values, of tensors of floats that depend on the images.
        sizes: tensor -> sizes, of all tensors.
        batch: number of images of this run.
    """

    sessions: Sessions
    outputs: dict[str, torch.Tensor]
    sizes: dict[str, Sizes]
    batch: int


def probed(
    model: Any,
    given: ImageInput,
    side: int,
    normalisation: tuple[Triple, Triple],
    channels: Channels,
    where: str,
) -> Probed:
    """Return a graph that takes any number of RGB images, and its tensors for random images.

    A fixed batch size is replaced by any. If the graph then fails, or computes other values, it
    is run in batches of the fixed size, and of 1 if the file declares none. So is a graph that
    quantises by the range of all values of a batch, as an image's map must not depend on others.

    Args:
        model: the network, with its own input; changed in place.
        given: its input.
        side: side of the images, in pixels.
        normalisation: mean and standard deviation; see ``rewriting.with_preprocessing``.
        channels: order of the channels that the network takes.
        where: name of the backbone in messages.

    Raises:
        InputError: ONNX Runtime cannot run the graph.
    """
    free = type(model).FromString(model.SerializeToString())
    rewriting.with_any_batch(free, given)
    for one in (free, model):
        rewriting.with_preprocessing(one, given, *normalisation, channels)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, side, side)).astype(np.float32)
    several = images[: 3 if given.batch == 2 else 2]
    fixed = Sessions(Graph(model), given.batch or 1)
    failure, mixes = None, any(node.op_type.startswith(_MIXING) for node in model.graph.node)
    try:
        found = _run(Sessions(Graph(free)), several)
        if not mixes and (given.batch is None or _agree(found, fixed, several)):
            return found
    except Exception as error:  # ONNX Runtime raises many kinds of errors
        failure = error
    try:
        return _run(fixed, np.resize(images, (given.batch or 1, 3, side, side)))
    except Exception as error:
        reason = explain(failure if failure and given.batch is None else error, model)
        raise InputError(
            f"{where}: ONNX Runtime cannot run it on images of {side}x{side} pixels ({reason})"
        ) from error


def _run(sessions: Sessions, images: NDArray[np.float32]) -> Probed:
    """Run all of a graph on images, and return its tensors."""
    graph = sessions.graph
    names = [name for node in graph.nodes for name in node.output if name]
    session = open_session(graph.cut(names), torch.get_num_threads())
    values = session.run(None, {rewriting.INPUT: images})
    arrays = {n: v for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray)}
    outputs = {
        name: torch.from_numpy(array)
        for name, array in arrays.items()
        if name in graph.dependent and array.dtype.kind == "f"
    }
    return Probed(sessions, outputs, {n: v.shape for n, v in arrays.items()}, len(images))


def _agree(found: Probed, fixed: Sessions, images: NDArray[np.float32]) -> bool:
    """Whether a graph whose batch was made free computes the same maps as before."""
    names = tuple(
        name
        for name, values in found.outputs.items()
        if values.ndim in (3, 4) and len(values) == found.batch
    )
    for name, expected in zip(names, fixed.run(images, names), strict=True):
        values = found.outputs[name].numpy()
        largest = float(np.abs(expected).max(initial=0.0))
        if values.shape != expected.shape or not np.allclose(
            values, expected, rtol=0.0, atol=_SAME * largest
        ):
            return False
    return True
