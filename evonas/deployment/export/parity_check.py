"""Compare the predictions of an exported file with those of the original network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.rotations import ANGLES, geodesic, matrices
from evonas.errors import RunError
from evonas.report.tables import in_unit
from evonas.tasks.common.prediction_format import Answer

#: Largest difference, relative to the largest prediction, or to 1 if that is smaller.
PARITY = 1e-4
_STEEP = 80.0  # degrees of yaw beyond which poses are compared by their geodesic distance


def check_parity(
    answer: Answer, expected: NDArray[np.float32], got: NDArray[np.float32], hint: str
) -> dict[str, Any]:
    """Return the largest difference between two predictions, and the allowed difference.

    Args:
        answer: description of the predictions.
        expected: predictions of the original network.
        got: predictions of the file for the same images.
        hint: advice for the error message.

    Raises:
        RunError: the difference is larger than rounding explains.
    """
    if answer.parts:
        # The predictions of several tasks have several units: the closest to its bound is shown.
        pairs = zip(answer.split(expected), answer.split(got), strict=True)
        found = [check_parity(part, own, other, hint) for (_, part, own), (_, _, other) in pairs]
        return max(found, key=lambda one: float(one["largest_difference"] / one["allowed"]))
    allowed = PARITY * max(1.0, float(np.abs(expected).max()))
    largest = difference(answer, expected, got)
    if not largest <= allowed:
        raise RunError(
            f"the exported file answers otherwise than PyTorch: expected differences of at most "
            f"{in_unit(f'{allowed:.1e}', answer.unit, ' ')} on {len(expected)} images, got "
            f"{largest:.1e}; no file is left: {hint}"
        )
    return {"largest_difference": largest, "allowed": allowed, "unit": answer.unit}


def difference(answer: Answer, expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Return the largest difference between two predictions; nan if ``got`` is not finite.

    Head poses of more than 80 degrees of yaw are compared by the angle between the rotations,
    because pitch and roll are rotations about nearly the same axis there (gimbal lock), and
    rounding changes them.
    """
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("nan")
    distances = np.abs(expected.astype(np.float64) - got).reshape(len(got), -1).max(1)
    if answer.kind == "angles" and answer.columns == ANGLES:
        steep = np.abs(expected[:, 0]) > _STEEP
        distances[steep] = geodesic(matrices(expected[steep]), matrices(got[steep]))
    return float(distances.max())
