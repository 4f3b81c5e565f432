"""Whether a file answers as the network that it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.rotations import ANGLES, geodesic, matrices
from evonas.errors import RunError
from evonas.tasks.common.prediction_format import Answer

#: Largest difference, as a share of the largest answer, or of 1 if all are smaller.
PARITY = 1e-4
_STEEP = 80.0  # degrees of yaw beyond which pitch and roll are compared together


def checked(
    answer: Answer, expected: NDArray[np.float32], found: NDArray[np.float32], hint: str
) -> dict[str, Any]:
    """Return how far the answers of a file are from those of the network, and what is allowed.

    Args:
        answer: what they are.
        expected: of the network.
        found: of the file, for the same images.
        hint: what to do where they differ.

    Raises:
        RunError: they are further apart than rounding explains.
    """
    allowed = PARITY * max(1.0, float(np.abs(expected).max()))
    apart = difference(answer, expected, found)
    if not apart <= allowed:
        raise RunError(
            f"the exported file answers otherwise than PyTorch: expected differences of at most "
            f"{allowed:.1e} {answer.unit} on {len(expected)} images, got {apart:.1e}; no file is "
            f"left: {hint}"
        )
    return {"largest_difference": apart, "allowed": allowed, "unit": answer.unit}


def difference(answer: Answer, expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest difference of two answers to the same images; nan if one is not finite.

    Where all three angles are there, poses beyond 80 degrees of yaw are compared by the angle
    between both rotations: pitch and roll turn about one axis there, and a rounding exchanges
    them.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("nan")
    apart = np.abs(expected.astype(np.float64) - found).reshape(len(found), -1).max(1)
    if answer.kind == "angles" and answer.columns == ANGLES:
        steep = np.abs(expected[:, 0]) > _STEEP
        apart[steep] = geodesic(matrices(expected[steep]), matrices(found[steep]))
    return float(apart.max())
