"""Loss of the best constant output of a task: what its loss is before anything is learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from evonas.core.array_types import Array

_MOST = 1024  # targets: evenly spread ones stand for more
_STEPS = 50
_DIGITS = 6  # of the result, since the last bits depend on the machine


def constant_loss(
    loss: Callable[[Tensor, Tensor], Tensor], targets: Array, n_outputs: int
) -> float:
    """Return the lowest loss of outputs that are the same for all images; nan if none is finite.

    The outputs are optimised with L-BFGS from zeros, in double precision.

    Args:
        loss: of (n, n_outputs) outputs against (n, k) targets, a mean over the images.
        targets: (n, k).
        n_outputs: length of the output.
    """
    chosen = np.linspace(0, len(targets) - 1, min(len(targets), _MOST)).round().astype(np.intp)
    truth = torch.from_numpy(targets[np.unique(chosen)].astype(np.float64))
    # Not quite zeros, where the loss of a direction has no gradient.
    output = torch.linspace(0.01, 0.02, n_outputs, dtype=torch.float64)[None].requires_grad_()
    optimizer = torch.optim.LBFGS([output], max_iter=_STEPS, line_search_fn="strong_wolfe")
    found: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(output.expand(len(truth), -1), truth)
        value.backward()  # type: ignore[no-untyped-call]
        found.append(float(value.detach()))
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    finite = [value for value in found if np.isfinite(value)]
    return float(f"{min(finite):.{_DIGITS}g}") if finite else float("nan")
