"""Bayesian optimization: expected improvement under a Gaussian process over architectures.

Jones, Schonlau and Welch 1998, "Efficient global optimization of expensive black-box
functions", https://doi.org/10.1023/A:1008306431147; in architecture search White,
Neiswanger and Savani 2021, "BANANAS", https://arxiv.org/abs/1910.11858. An ask may take about
a second, which is little beside a training of minutes.
"""

from __future__ import annotations

import itertools
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evonas.errors import InputError
from evonas.optimizers.base import Common, Optimizer
from evonas.optimizers.bayesian.acquisition import (
    Forecasts,
    normal_scores,
    score_deviations,
    variance_reductions,
)
from evonas.optimizers.bayesian.encoding import Encoding
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess
from evonas.optimizers.bayesian.gene_prior import Prior, prior_offsets
from evonas.optimizers.bayesian.kernel import Kernel
from evonas.optimizers.bayesian.model_average import AveragedPosterior, ModelAverage
from evonas.optimizers.common.arguments import whole_number
from evonas.space import Genome, SearchSpace

Array = NDArray[np.float64]

#: A space up to this size is listed once, and every ask considers all of it.
LISTABLE = 20_000
#: Candidates of the initial design, and points that represent the whole space.
DESIGN, REFERENCE = 1000, 256
#: Default number of genomes per ask. A constant: a journal must not depend on the workers.
BATCH = 4
#: Size of the initial design with ``macs``, whose prior slope helps, and without.
START, START_BLIND = 2, 6
#: Candidates in a larger space: random draws, and mutants of the BEST architectures. The
#: acquisition is not maximised further: over many genes its exact maximum lies far from all data,
#: where the model is unreliable. Staying near good architectures did better on synthetic problems.
DRAWS, MUTANTS, BEST = 600, 900, 10
#: With fewer feasible draws than this, the sampler constructs feasible genomes.
FEW = 8
#: Step of a gene without bins, as a share of its range.
CONTINUOUS_STEP = 0.1
#: A search converges when the expected improvement, in standard deviations of the noise of one
#: evaluation, is below GAIN in asks of QUIET genomes in a row.
GAIN, QUIET = 0.1, 8
#: The hyperparameters are fitted again after this share of new evaluations.
REFIT = 0.04
#: Share of a whole training, after its first step, that a new architecture is expected to take.
GOES_ON = 0.25


class Surrogate(Optimizer):
    """Ask the architectures of greatest expected improvement; no architecture is asked twice.

    The Gaussian process models the rank of the fitness; failures rank last. With ``macs`` the
    cost is an input of the model too, as far as data are better explained with it. The batches
    of the default keep four workers busy, and on tables cost few trainings more than one by one.

    Args:
        start: size of the initial design, spread over the space, at least 2; None: 2 if
            ``macs`` is given, else 6.
        prior: gene -> value -> expected error of its architectures, in any unit, such as that of
            a probe of the taps. A hint: the mean of the model and weights of the initial design,
            which data overrule.
        until_converged: whether the search ends by itself when the model expects no improvement
            that would stand out from the noise between seeds, which it estimates from the results.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 4.

    Raises:
        InputError: an argument is out of its range.
    """

    least_population_size = 1
    asks_ahead = True
    resumes = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        start: int | None = None,
        prior: Prior | None = None,
        until_converged: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        default = START_BLIND if self.macs is None else START
        self._start = default if start is None else whole_number("start", start, 2)
        self._digests: list[str] = []  # asked or observed, in order
        self._genomes = np.empty((0, space.dim))  # of the same
        self._points = np.empty((0, 0))  # of the same, as inputs of the model
        self._listing: tuple[Array, Array] | None = None  # the remaining part of a small space
        self._listed = 0  # number of points already removed from the listing
        self._fitted = 0  # number of evaluations at the last fit of the hyperparameters
        self._models: ModelAverage | None = None
        if not isinstance(until_converged, bool):
            raise InputError(f"until_converged: expected true or false, got {until_converged!r}")
        self._until_converged = until_converged
        self._quiet = 0  # genomes in a row from asks with little expected improvement
        self._offsets: dict[int, Array] = {} if prior is None else prior_offsets(space, prior)

    def _default_population_size(self) -> int:
        return BATCH

    def ask(self) -> Array:
        """Return the next generation; none if the search has converged. See ``Optimizer.ask``."""
        if self._until_converged and self._quiet >= QUIET and not self.stop_reason:
            self._finish(
                f"The search has converged: for {self._quiet} architectures in a row the expected "
                f"improvement was below {GAIN:g} standard deviations of the noise."
            )
        return super().ask()

    def _ask(self) -> Array:
        # The last bits of sums depend on the number of threads, and a search resumed on another
        # machine has to ask the same genomes.
        with threadpool_limits(1):
            return self._next_batch()

    def _next_batch(self) -> Array:
        if self._models is None:
            self._models = self._begin()
        n, told = len(self._digests), self._told()
        # Before the first success there is no fitness to model: the initial design goes on.
        if len(told) and not self.archive.any_success:
            batch = self._design(self.population_size)
        elif n < self._start:
            batch = self._first(self._models, self._start - n)
        elif len(told) < self._start:
            batch = self._by_prior([], self._models)
        else:
            batch = self._improvements(self._models, told)
        if not batch:
            batch = list(self.sample_new(self.population_size))
        genomes, points = self._encoding.feasible(np.array(batch).reshape(-1, self.space.dim))
        digests = [self.identify(genome)[0] for genome in genomes]
        new = [not self.curves.epochs(digest) for digest in digests]
        self._digests += [digest for digest, fresh in zip(digests, new, strict=True) if fresh]
        self._genomes = np.concatenate([self._genomes, genomes[new]])
        self._points = np.concatenate([self._points, points[new]])
        return genomes

    def _tell(self, genomes: Array, fitness: Array) -> None:
        """Do nothing: each ask reads the fitness from the archive, with up-to-date penalties."""

    def parents(self) -> list[str]:
        """Return the digests of all data of the model, lowest fitness first."""
        told = self._told() if self.archive.any_success else np.empty(0, dtype=np.intp)
        order = told[np.argsort(self._fitness(told), kind="stable")]
        return [self._digests[index] for index in order]

    def _told(self) -> NDArray[np.intp]:
        """Return the indices of the digests that were evaluated; the others are pending."""
        known = self.archive.genomes
        return np.array([i for i, d in enumerate(self._digests) if d in known], dtype=np.intp)

    def _fitness(self, told: NDArray[np.intp]) -> Array:
        """Return the (n,) recorded fitness, failures penalised, after the first success."""
        fitness = [self.fitness_of(self._digests[index]) for index in told]
        return np.array(fitness, dtype=np.float64)

    def _begin(self) -> ModelAverage:
        draws = self.rng.random((4 * REFERENCE, self.space.dim))
        limits = (self.space, self.macs, self.max_macs)
        draws = Encoding(*limits, draws, self.excess).feasible(draws)[0]
        if len(draws) < FEW:
            draws = np.concatenate([draws, self.sample(FEW)])
        draws = draws[:REFERENCE]
        self._encoding = Encoding(*limits, draws, self.excess)
        self._reference = self._encoding.feasible(draws)[1]
        observed = {d: g for d, g in self.archive.genomes.items() if self.archive.seen[d] == 0.0}
        self._digests = list(observed)
        genomes = np.array(list(observed.values()), dtype=np.float64).reshape(-1, self.space.dim)
        self._genomes, self._points = self._encoding.feasible(genomes)
        self._listing = self._list() if self.space.size <= LISTABLE else None
        kinds = [False] if self.macs is None else [True, False]
        kernels = [Kernel(self.space.ordered, cost, self._offsets) for cost in kinds]
        return ModelAverage([GaussianProcess(kernel) for kernel in kernels])

    def _list(self) -> tuple[Array, Array]:
        """Return all feasible architectures as genomes and points, each once."""
        centres = [(np.arange(len(g.values)) + 0.5) / len(g.values) for g in self.space.genes]
        grid = np.array(list(itertools.product(*centres)), dtype=np.float64)
        genomes, points = self._encoding.feasible(grid)
        # Genomes that differ only in inactive genes are the same architecture.
        first = np.sort(np.unique(points, axis=0, return_index=True)[1])
        return genomes[first], points[first]

    def _first(self, models: ModelAverage, missing: int) -> list[Genome]:
        """Return the missing part of the initial design, filled up by the prior's improvement."""
        batch = self._design(min(missing, self.population_size))
        if not batch or len(batch) == self.population_size:
            return batch
        return self._by_prior(batch, models)

    def _by_prior(self, batch: list[Genome], models: ModelAverage) -> list[Genome]:
        """Fill up a batch as if the fitness of all that was asked were the prior's mean."""
        known = self._points
        if batch:
            known = np.concatenate([known, self._encoding.feasible(np.array(batch))[1]])
        for process in models.processes:
            process.condition(known, process.kernel.mean(known))
        return self._filled(batch, models, known, *self._pool())

    def _design(self, n: int) -> list[Genome]:
        """Return up to n new genomes that reduce the model's variance over the space most."""
        genomes, points = self._pool()
        drawn = self.rng.permutation(len(genomes))[:DESIGN]
        genomes, points = genomes[drawn], points[drawn]
        known = self._points
        batch: dict[str, Genome] = {}
        while len(batch) < n and self._models is not None and len(genomes):
            gains = variance_reductions(self._models.processes[0], known, points, self._reference)
            index = self._first_new(gains, genomes, batch)
            if index is None:
                break
            known = np.concatenate([known, points[[index]]])
        return list(batch.values())

    def _improvements(self, models: ModelAverage, told: NDArray[np.intp]) -> list[Genome]:
        """Return up to population_size new genomes of greatest expected improvement."""
        known, fitness = self._points[told], self._fitness(told)
        scores, extra = self._scores(told, fitness)
        if self._fitted == 0 or len(scores) - self._fitted > REFIT * len(scores):
            models.fit(known, scores, extra)
            self._fitted = len(scores)
        models.condition(known, scores, extra)
        good = np.array([self.success(self._digests[index]) is not None for index in told])
        genomes, points = self._pool()
        if self._listing is None:
            order = np.argsort(scores, kind="stable")[: min(BEST, int(good.sum()))]
            mutants, near = self._encoding.feasible(self._mutants(self._genomes[told[order]]))
            genomes, points = np.concatenate([mutants, genomes]), np.concatenate([near, points])
        pending = np.delete(self._points, told, axis=0)
        if not self.curves.steps:
            return self._filled([], models, known[good], genomes, points, pending)
        paused = np.array([self.curves.paused(self._digests[index]) for index in told])
        done = [self.curves.epochs(self._digests[index]) for index in told[paused]]
        left = self.curves.steps[-1] - np.array(done, dtype=np.float64)
        own = Forecasts(scores[paused], extra[paused], left)
        genomes = np.concatenate([self._genomes[told[paused]], genomes])
        points = np.concatenate([known[paused], points])
        whole = good & ~paused
        share = self.curves.steps[0] / self.curves.steps[-1]
        due = paused.any() and whole.sum() < share * good.sum()
        first = [genomes[own.scores.argmin()]] if due else []
        best = known[whole] if whole.any() else known[good]
        return self._filled(first, models, best, genomes, points, pending, own)

    def _scores(self, told: NDArray[np.intp], fitness: Array) -> tuple[Array, Array]:
        """Return normal scores of the fitness, and what is known of their noise variances.

        The fitness of a paused training is that of its forecast.
        """
        if not self.curves.steps:
            return normal_scores(fitness), np.zeros(len(fitness))
        digests = [self._digests[index] for index in told]
        ends, deviations = self.curves.forecast(dict(zip(digests, fitness.tolist(), strict=True)))
        scores = normal_scores(ends)
        return scores, score_deviations(ends, deviations, scores) ** 2

    def _price(self, n: int, own: Forecasts | None) -> Array:
        """Return logarithms of the epochs that it takes to know what each of n candidates is worth.

        A paused training goes on to its end; a new one is expected to end after its first step,
        but for a share of GOES_ON.
        """
        if own is None:
            return np.zeros(n)
        first, whole = self.curves.steps[0], self.curves.steps[-1]
        epochs = np.full(n, first + GOES_ON * (whole - first))
        epochs[: len(own.left)] = own.left
        prices: Array = np.log(epochs)
        return prices

    def _filled(
        self,
        begun: list[Genome],
        models: ModelAverage,
        known: Array,
        genomes: Array,
        points: Array,
        pending: Array | None = None,
        own: Forecasts | None = None,
    ) -> list[Genome]:
        """Fill up a batch with the candidates of greatest expected improvement.

        Args:
            begun: first genomes of the batch.
            models: conditioned Gaussian processes.
            known: (k, d) points of the architectures to improve on.
            genomes: (m, dim) candidates.
            points: (m, d) their points.
            pending: (p, d) points of architectures whose fitness is missing: they count as members
                of the batch, with the model's mean as their fitness.
            own: forecasts of the first candidates, whose trainings are paused.
        """
        if len(genomes) == 0:
            return begun
        ahead = 0 if pending is None else len(pending)
        if pending is not None and ahead:
            points = np.concatenate([pending, points])
        posterior = AveragedPosterior(models, points, known)
        if own is not None:
            posterior.use(own)
        for place in range(ahead):
            posterior.take(place)
        if self._until_converged and pending is not None:  # some results are known
            low = posterior.scores()[ahead:].max() < np.log(GAIN * models.noise)
            self._quiet = self._quiet + self.population_size if low else 0
        batch = {self.identify(genome)[0]: genome for genome in begun}
        price = self._price(len(genomes), own)
        while len(batch) < self.population_size:
            index = self._first_new(posterior.scores()[ahead:] - price, genomes, batch)
            if index is None:
                break
            if len(batch) < self.population_size:
                posterior.take(ahead + index)
        return list(batch.values())

    def _mutants(self, parents: Array) -> Array:
        """Return genomes that differ from their parents in one or two genes."""
        mutants = parents[np.arange(MUTANTS) % len(parents)].copy()
        for share in (1.0, 0.5):
            rows = np.flatnonzero(self.rng.random(MUTANTS) < share)
            columns = self.rng.integers(self.space.dim, size=len(rows))
            value = mutants[rows, columns]
            width = self.space.bins[columns]
            step = np.where(
                width > 0.0,
                width * self.rng.choice([-1.0, 1.0], len(rows)),
                CONTINUOUS_STEP * self.rng.standard_normal(len(rows)),
            )
            near = self.space.ordered[columns] & (self.rng.random(len(rows)) < 0.5)
            anywhere = self.rng.random(len(rows))
            mutants[rows, columns] = np.where(near, np.clip(value + step, 0.0, 1.0), anywhere)
        return mutants

    def _pool(self) -> tuple[Array, Array]:
        """Return candidate genomes and points: the rest of a small space, else random draws."""
        if self._listing is not None:
            genomes, points = self._listing
            for asked in self._points[self._listed :]:
                unknown = np.any(points != asked, axis=1)
                genomes, points = genomes[unknown], points[unknown]
            self._listing, self._listed = (genomes, points), len(self._points)
            return self._listing
        genomes, points = self._encoding.feasible(self.rng.random((DRAWS, self.space.dim)))
        if len(genomes) < FEW:
            more, more_points = self._encoding.feasible(self.sample_new(FEW))
            genomes = np.concatenate([genomes, more])
            points = np.concatenate([points, more_points])
        return genomes, points

    def _first_new(self, scores: Array, genomes: Array, batch: dict[str, Genome]) -> int | None:
        """Add the best-scored new genome to a batch; return its index, or None if all are known."""
        for index in np.argsort(-scores, kind="stable").tolist():
            digest, violation = self.identify(genomes[index])
            open_ = self.is_new(digest) or self.curves.paused(digest)
            if violation == 0.0 and digest not in batch and open_:
                batch[digest] = genomes[index]
                return int(index)
        return None
