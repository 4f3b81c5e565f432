"""Average precision against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from evonas.tasks.common.average_precision import average_precision


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.50001, 0.9, 1.0, -3.0]), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_it_is_that_of_scikit_learn_with_and_without_ties(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([s for s, _ in rows]), np.array([t for _, t in rows])
    found = average_precision(scores, truth)
    if not truth.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(oracle.average_precision_score(truth, scores), abs=1e-12)


def test_a_constant_has_the_share_of_yes_and_a_perfect_order_one() -> None:
    truth = np.array([True, False, False, True, False])
    assert average_precision(np.zeros(5), truth) == pytest.approx(0.4)
    assert average_precision(np.array([5.0, 1, 2, 4, 3]), truth) == 1.0
    # yes at ranks 2 and 4: (1/2 + 2/4) / 2
    assert average_precision(np.array([4.0, 5, 3, 2, 1]), truth) == pytest.approx(0.5)
