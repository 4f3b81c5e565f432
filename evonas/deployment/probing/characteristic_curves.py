"""Characteristic curves: how many filters of a map a label needs (John et al. 2019, section 4).

T. A. John, I. Dua, V. N. Balasubramanian, C. V. Jawahar (2019), "Low-Cost Transfer Learning
of Face Tasks", arXiv 1901.02675. A lasso with 100 penalties on the pooled features chooses
more and more filters; the error falls quickly where few of them carry the label.

The article does not say on which images the error is measured; here it is on held-out groups.
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
_RATIO = 1e-4  # of the smallest penalty to the largest
#: Duality gap, as a share of the target's square, at which a fit is done, and sweeps after which
#: it stops all the same: for one column, and for ten or more (classes), whose sweeps are dear.
_GAP, _SWEEPS = (1e-5, 1e-3), (1000, 100)


@dataclass(frozen=True)
class Curve:
    """The characteristic curve of one map for one label (equation 1).

    Attributes:
        lambdas: (100,) penalties of the fit on all images, falling from lambda_max to
            lambda_max / 10^4, geometrically.
        filters: (100,) filters with coefficients that are not zero in that fit.
        errors: (100,) held-out RMSE, mean over the folds, in the label's unit; of classes
            that of their indicators. Each fold has its own lambda_max, and the same ratios.
        chosen: (100, c) which filters.
        constant: indices of filters that are left out since they are the same for all images.
        unconverged: fits, of 100 for each fold and 100 of all images, that stopped short of
            their precision: features that say nearly the same, at the smallest penalties.
        notes: what a person should know.
    """

    lambdas: Floats
    filters: NDArray[np.intp]
    errors: Floats
    chosen: Flags
    constant: tuple[int, ...] = ()
    unconverged: int = 0
    notes: tuple[str, ...] = ()

    def knee(self, threshold: float) -> int:
        """Return the index of the fit with the fewest filters that is nearly as good as the best.

        Equation 2: RMSE - min RMSE <= threshold * (max RMSE - min RMSE). A fit without
        filters is none to keep, so it is neither the knee nor the best. The number of
        filters need not rise along the path; of fits with equally many the best one counts.

        Args:
            threshold: share of the curve's range, 0 (the best fit) up to 1.
        """
        some = np.flatnonzero(self.filters > 0)
        if not len(some):
            return len(self.filters) - 1
        least, most = self.errors[some].min(), self.errors.max()
        # Written so that 0 is exact, whatever the rounding.
        fine = some[self.errors[some] <= least + threshold * (most - least)]
        return int(fine[np.lexsort((self.errors[fine], self.filters[fine]))[0]])

    def kept(self, threshold: float) -> Flags:
        """Return the filters of the knee, (c,), at least one."""
        chosen: Flags = self.chosen[self.knee(threshold)]
        return chosen if chosen.any() else np.ones_like(chosen)


def curve(
    features: NDArray[np.floating], target: Target, groups: NDArray[np.str_], folds: int
) -> Curve:
    """Return the characteristic curve of a map.

    Equation 1, min 1/(2N) sum (y - b0 - x'b)^2 + lambda sum |b|, on standardised columns. Of
    several columns (a key point; the indicators of classes) it becomes the multi-task lasso,
    with the sum of the norms of each filter's coefficients (Obozinski et al. 2010,
    Statistics and Computing 20, equation 3), which for one column is the same. The
    coordinates of a key point are standardised to weigh the same.

    Args:
        features: (n, c) pooled features.
        target: of the same images.
        groups: (n,) the person, or source photo, of each image.
        folds: parts, by group, that are held out in turn; see ``folds.deal``.

    Returns:
        The curve; one that keeps everything, and says so, where features or target are the
        same for all images.

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
        return _everything(x, y, constant, (*notes, f"{what}: all filters kept"))
    whole = _Path.of(x[:, varying], y, bool(target.classes))
    unconverged, errors = whole.unconverged, np.zeros(POINTS)
    for train, test in dealt:
        path = _Path.of(x[np.ix_(train, varying)], y[train], bool(target.classes))
        errors += path.errors(x[np.ix_(test, varying)], y[test]) / dealt.count
        unconverged += path.unconverged
    chosen = np.zeros((POINTS, x.shape[1]), bool)
    chosen[:, varying] = (whole.weights != 0).any(2)
    filters = chosen.sum(1)
    return Curve(whole.lambdas, filters, errors, chosen, constant, unconverged, tuple(notes))


def checked(features: NDArray[np.floating], target: Target) -> Floats:
    """Return features as (n, c) doubles.

    Raises:
        InputError: they are not of this form, as many as the target's images, and finite.
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
class _Path:
    """The fits of one set of images: 100 penalties, from the largest down."""

    lambdas: Floats
    weights: Floats  # (100, c, k), of standardised columns
    centre: Floats
    scale: Floats
    middle: Floats  # of the target's columns
    spread: Floats
    unconverged: int

    @classmethod
    def of(cls, x: Floats, y: Floats, indicators: bool) -> _Path:
        """Fit; a column that is the same for all these images gets no weight."""
        n, c = x.shape
        centre, middle = x.mean(0), y.mean(0)
        scale = np.where(np.ptp(x, axis=0) > 0, x.std(0), np.inf)
        alike = indicators or y.shape[1] == 1
        deviation = y.std(0)
        spread = np.where(alike | (deviation == 0), 1.0, deviation)
        z, t = (x - centre) / scale, (y - middle) / spread
        largest = float(np.linalg.norm(z.T @ t, axis=1).max() / n)
        lambdas = largest * _RATIO ** (np.arange(POINTS) / (POINTS - 1))
        weights, unconverged = np.zeros((POINTS, c, y.shape[1])), 0
        if largest > 0:
            weights, unconverged = _lasso(z, t, lambdas)
        return cls(lambdas, weights, centre, scale, middle, spread, unconverged)

    def errors(self, x: Floats, y: Floats) -> Floats:
        """Return the RMSE on other images, over images and columns, (100,)."""
        z = (x - self.centre) / self.scale
        guesses = ((z @ weights) * self.spread + self.middle for weights in self.weights)
        return np.array([np.sqrt(((guess - y) ** 2).mean()) for guess in guesses])


def _lasso(z: Floats, t: Floats, lambdas: Floats) -> tuple[Floats, int]:
    """Return weights (100, c, k) and how many fits stopped short.

    Of many images, (z, t) becomes (R, Q't) of z = QR: the same problem on c rows.
    """
    from sklearn.linear_model import lasso_path  # slow to import, only when used

    (n, c), k = z.shape, t.shape[1]
    if n > c:
        q, r = np.linalg.qr(z)
        z, t = r * np.sqrt(c / n), q.T @ t * np.sqrt(c / n)
    sweeps = max(_SWEEPS[0] // k, _SWEEPS[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what did not converge is counted
        _, weights, _, needed = lasso_path(
            np.asfortranarray(z),
            t[:, 0] if k == 1 else np.asfortranarray(t),
            alphas=lambdas,
            precompute=k == 1,
            tol=min(_GAP[0] * k**2, _GAP[1]),
            max_iter=sweeps,
            return_n_iter=True,
        )
    found = weights.T[..., None] if k == 1 else weights.transpose(2, 1, 0)
    found[0] = 0.0  # lambda_max is what just makes all zero: rounding may leave one behind
    return found, int((np.asarray(needed) >= sweeps).sum())


def _everything(x: Floats, y: Floats, constant: tuple[int, ...], notes: tuple[str, ...]) -> Curve:
    """Return a curve that keeps all filters: there is nothing to choose by."""
    error = float(np.sqrt(((y - y.mean(0)) ** 2).mean()))
    filters = np.full(POINTS, x.shape[1])
    chosen = np.ones((POINTS, x.shape[1]), bool)
    flat = np.full(POINTS, error)
    return Curve(np.zeros(POINTS), filters, flat, chosen, constant, notes=notes)
