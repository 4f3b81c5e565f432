"""Characteristic curves: error by the number of filters that a label may use (John et al. 2019).

T. A. John, I. Dua, V. N. Balasubramanian, C. V. Jawahar (2019), "Low-Cost Transfer Learning
of Face Tasks", arXiv 1901.02675, section 4. A lasso with 100 falling penalties on the pooled
features selects more and more filters; if few filters contain the label, the error falls
quickly. The article does not state on which images the error is measured; here it is measured
on held-out groups.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.deployment.probing.folds import deal
from evonas.deployment.probing.targets import Flags, Floats, Target
from evonas.errors import InputError

POINTS = 100
_RATIO = 1e-4  # ratio of the smallest penalty to the largest
#: Duality gap, relative to the target's square, at which a fit ends, and its largest number of
#: sweeps: for one column, and for ten or more columns (classes), whose sweeps take longer.
_GAP, _SWEEPS = (1e-5, 1e-3), (1000, 100)


@dataclass(frozen=True)
class Curve:
    """The characteristic curve of one map for one label (equation 1).

    Attributes:
        lambdas: (100,) penalties of the fit on all images, in a geometric sequence from
            lambda_max to lambda_max / 10^4.
        filters: (100,) number of filters with non-zero coefficients in that fit.
        errors: (100,) held-out RMSE, mean over the folds, in the label's unit; for classes, of
            their indicators. Each fold has its own lambda_max and the same ratios.
        chosen: (100, c) whether each filter has non-zero coefficients.
        constant: indices of filters with the same value for all images, which are left out.
        unconverged: number of fits (100 for each fold and 100 on all images) that did not reach
            their precision, which happens with nearly equal features at the smallest penalties.
        notes: notes for the user.
    """

    lambdas: Floats
    filters: NDArray[np.intp]
    errors: Floats
    chosen: Flags
    constant: tuple[int, ...] = ()
    unconverged: int = 0
    notes: tuple[str, ...] = ()

    def knee(self, threshold: float) -> int:
        """Return the index of the fit with the fewest filters whose error is nearly the lowest.

        Equation 2: RMSE - min RMSE <= threshold * (max RMSE - min RMSE). Fits without filters
        are excluded. The number of filters need not increase along the path; of several fits
        with the same number, the fit with the lowest error is returned.

        Args:
            threshold: fraction of the curve's range, from 0 (the lowest error) to 1.
        """
        candidates = np.flatnonzero(self.filters > 0)
        if not len(candidates):
            return len(self.filters) - 1
        lowest, highest = self.errors[candidates].min(), self.errors.max()
        # In this form, a threshold of 0 is exact in spite of rounding.
        good = candidates[self.errors[candidates] <= lowest + threshold * (highest - lowest)]
        return int(good[np.lexsort((self.errors[good], self.filters[good]))[0]])

    def kept(self, threshold: float) -> Flags:
        """Return (c,) whether each filter is selected at the knee; at least one is."""
        chosen: Flags = self.chosen[self.knee(threshold)]
        return chosen if chosen.any() else np.ones_like(chosen)


def curve(
    features: NDArray[np.floating], target: Target, groups: NDArray[np.str_], folds: int
) -> Curve:
    """Return the characteristic curve of a map.

    Equation 1, min 1/(2N) sum (y - b0 - x'b)^2 + lambda sum |b|, on standardised columns. For
    targets of several columns (a key point; the indicators of classes) it is the multi-task
    lasso, whose penalty is the sum of the norms of each filter's coefficients (Obozinski et al.
    2010, Statistics and Computing 20, equation 3). The coordinates of a key point are
    standardised, so that their weights are equal.

    Args:
        features: (n, c) pooled features.
        target: label of the same images.
        groups: (n,) person, or source photo, of each image.
        folds: number of folds; see ``folds.deal``.

    Returns:
        The curve. If the features or the target are the same for all images, the curve keeps
        all filters and has a note.

    Raises:
        InputError: features are not finite, or there are fewer images than folds.
    """
    x = checked(features, target)
    varying = np.ptp(x, axis=0) > 0
    constant = tuple(np.flatnonzero(~varying).tolist())
    dealt = deal(groups, target, folds)
    notes = [dealt.note] if dealt.note else []
    y = target.columns
    if not varying.any() or not np.ptp(y, axis=0).any():
        what = "constant label" if varying.any() else "constant features"
        return _all_filters(x, y, constant, (*notes, f"{what}: all filters kept"))
    full = _LassoPath.fit(x[:, varying], y, bool(target.classes))
    unconverged, errors = full.unconverged, np.zeros(POINTS)
    for train, test in dealt:
        path = _LassoPath.fit(x[np.ix_(train, varying)], y[train], bool(target.classes))
        errors += path.errors(x[np.ix_(test, varying)], y[test]) / dealt.count
        unconverged += path.unconverged
    chosen = np.zeros((POINTS, x.shape[1]), bool)
    chosen[:, varying] = (full.weights != 0).any(2)
    filters = chosen.sum(1)
    return Curve(full.lambdas, filters, errors, chosen, constant, unconverged, tuple(notes))


def checked(features: NDArray[np.floating], target: Target) -> Floats:
    """Return features as (n, c) doubles, after checking shape and values.

    Raises:
        InputError: the features are not (n, c) for the n images of the target, or not finite.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) != len(target.values) or not x.size:
        raise InputError(
            f"probe of {target.name!r}: expected features (images, channels) of "
            f"{len(target.values)} images, got {x.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad) or not np.isfinite(target.values).all():
        what = f"features of image {bad[0]}" if len(bad) else "the label"
        raise InputError(
            f"probe of {target.name!r}: {what} expected to be finite, got nan or infinity: "
            f"check the weights of the backbone and the labels"
        )
    return x


@dataclass(frozen=True)
class _LassoPath:
    """Lasso fits of one set of images with 100 penalties, in falling order."""

    lambdas: Floats
    weights: Floats  # (100, c, k), of standardised columns
    centre: Floats  # mean of the features
    scale: Floats  # standard deviation of the features
    middle: Floats  # mean of the target's columns
    spread: Floats  # scale of the target's columns
    unconverged: int

    @classmethod
    def fit(cls, x: Floats, y: Floats, indicators: bool) -> _LassoPath:
        """Fit the path; features with the same value for all images get no weight."""
        n, c = x.shape
        centre, middle = x.mean(0), y.mean(0)
        scale = np.where(np.ptp(x, axis=0) > 0, x.std(0), np.inf)
        keep_scale = indicators or y.shape[1] == 1
        deviation = y.std(0)
        spread = np.where(keep_scale | (deviation == 0), 1.0, deviation)
        z, t = (x - centre) / scale, (y - middle) / spread
        largest = float(np.linalg.norm(z.T @ t, axis=1).max() / n)
        lambdas = largest * _RATIO ** (np.arange(POINTS) / (POINTS - 1))
        weights, unconverged = np.zeros((POINTS, c, y.shape[1])), 0
        if largest > 0:
            weights, unconverged = _lasso(z, t, lambdas)
        return cls(lambdas, weights, centre, scale, middle, spread, unconverged)

    def errors(self, x: Floats, y: Floats) -> Floats:
        """Return the (100,) RMSE over images and columns, on other images."""
        z = (x - self.centre) / self.scale
        guesses = ((z @ weights) * self.spread + self.middle for weights in self.weights)
        return np.array([np.sqrt(((guess - y) ** 2).mean()) for guess in guesses])


def _lasso(z: Floats, t: Floats, lambdas: Floats) -> tuple[Floats, int]:
    """Return weights (100, c, k) and the number of fits that did not converge.

    If there are more images than features, (z, t) is replaced by (R, Q't) of the decomposition
    z = QR, which is the same problem with c rows.
    """
    from sklearn.linear_model import lasso_path  # slow to import, only when used

    (n, c), k = z.shape, t.shape[1]
    if n > c:
        q, r = np.linalg.qr(z)
        z, t = r * np.sqrt(c / n), q.T @ t * np.sqrt(c / n)
    sweeps = max(_SWEEPS[0] // k, _SWEEPS[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits without convergence are counted below
        _, weights, _, needed = lasso_path(
            np.asfortranarray(z),
            np.ascontiguousarray(t[:, 0]) if k == 1 else np.asfortranarray(t),
            alphas=lambdas,
            precompute=k == 1,
            check_input=False,  # the check is repeated for each penalty, and takes most of the time
            tol=min(_GAP[0] * k**2, _GAP[1]),
            max_iter=sweeps,
            return_n_iter=True,
        )
    path = weights.T[..., None] if k == 1 else weights.transpose(2, 1, 0)
    path[0] = 0.0  # all weights are 0 at lambda_max, but rounding may leave small values
    return path, int((np.asarray(needed) >= sweeps).sum())


def _all_filters(x: Floats, y: Floats, constant: tuple[int, ...], notes: tuple[str, ...]) -> Curve:
    """Return a curve that keeps all filters, for constant features or labels."""
    error = float(np.sqrt(((y - y.mean(0)) ** 2).mean()))
    filters = np.full(POINTS, x.shape[1])
    chosen = np.ones((POINTS, x.shape[1]), bool)
    flat = np.full(POINTS, error)
    return Curve(np.zeros(POINTS), filters, flat, chosen, constant, notes=notes)
