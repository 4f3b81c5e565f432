"""Bayesian optimization: a Gaussian process over architectures says what to train next.

Jones, Schonlau and Welch 1998, "Efficient global optimization of expensive black-box
functions", https://doi.org/10.1023/A:1008306431147; in architecture search White,
Neiswanger and Savani 2021, "BANANAS", https://arxiv.org/abs/1910.11858. Where one
training takes minutes, the second of computing that an ask may take is well spent.
"""

from __future__ import annotations

import itertools
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evonas.optimizers.base import Common, Optimizer
from evonas.optimizers.bayesian.acquisition import Belief, knowledge_gains, normal_scores
from evonas.optimizers.bayesian.encoding import Encoding
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess
from evonas.optimizers.bayesian.kernel import Kernel
from evonas.optimizers.common.arguments import whole_number
from evonas.space import Genome, SearchSpace

Array = NDArray[np.float64]

#: A space up to this size is listed once, and every ask considers all of it.
LISTABLE = 20_000
#: Candidates for the start's design, and points that stand for the whole space.
DESIGN, REFERENCE = 1000, 256
#: Architectures of the start where the cost gives a first idea, and where it does not.
START, START_BLIND = 2, 6
#: In a larger space: draws, and mutants of the BEST architectures. Candidates are not
#: refined further: far from all data the model is a guess, and an exact maximum over
#: many genes lies there; to stay near what is good did better on synthetic problems.
DRAWS, MUTANTS, BEST = 600, 900, 10
#: Where draws find fewer feasible genomes than this, feasible ones are walked to.
FEW = 8
#: Step of a gene without bins, as a share of its range.
CONTINUOUS_STEP = 0.1
#: The model's hyperparameters are learned anew after this share of new fitness.
RELEARN = 0.04


class Surrogate(Optimizer):
    """Expected improvement under a Gaussian process; no architecture is asked twice.

    The fitness is modelled by rank. Where ``macs`` is given, what the cost says about
    the fitness is learned too. A failure ranks last. A small population_size learns
    most from each training: 1, the default, suits a single worker.

    Args:
        start: architectures that are spread over the space before the model decides,
            at least 2. None: 2 where ``macs`` is given, else 6.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 1.

    Raises:
        InputError: an argument is out of its range.
    """

    least_population_size = 1

    def __init__(
        self,
        space: SearchSpace,
        *,
        start: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        usual = START_BLIND if self.macs is None else START
        self._start = usual if start is None else whole_number("start", start, 2)
        self._digests: list[str] = []  # of all that was asked
        self._genomes = np.empty((0, space.dim))
        self._points = np.empty((0, 0))  # the same as the model sees them
        self._listing: tuple[Array, Array] | None = None  # all that is left of a small space
        self._listed = 0  # how much of what was asked is out of the listing
        self._learned = 0  # how much fitness the hyperparameters have seen
        self._process: GaussianProcess | None = None

    def _default_population_size(self) -> int:
        return 1

    def _ask(self) -> Array:
        # Sums of several threads differ in the last bit with their number, and a resumed
        # search, elsewhere, has to ask the same.
        with threadpool_limits(1):
            return self._asked_next()

    def _asked_next(self) -> Array:
        if self._process is None:
            self._process = self._begin()
        n, known = len(self._digests), self._known()
        # Before the first success nothing is known of anything: the start goes on.
        if len(known) < n:
            batch = self._design(self.population_size)
        elif n < self._start:
            batch = self._first(self._process, self._start - n)
        else:
            batch = self._improvements(self._process, known)
        if not batch:
            batch = list(self.sample_new(self.population_size))
        genomes, points = self._encoding.feasible(np.array(batch).reshape(-1, self.space.dim))
        self._digests += [self.identify(genome)[0] for genome in genomes]
        self._genomes = np.concatenate([self._genomes, genomes])
        self._points = np.concatenate([self._points, points])
        return genomes

    def _tell(self, genomes: Array, fitness: Array) -> None:
        """``fitness_of`` remembers, and moves failures as the scale of the successes unfolds."""

    def parents(self) -> list[str]:
        """Return the digests of all data of the model, ranked as it ranks them."""
        order = np.argsort(self._known(), kind="stable").tolist()
        return [self._digests[index] for index in order]

    def _known(self) -> Array:
        """Return the (n,) recorded fitness, failures last; n = 0 before any success."""
        fitness = [self.fitness_of(digest) for digest in self._digests]
        return np.array([f for f in fitness if f is not None], dtype=np.float64)

    def _begin(self) -> GaussianProcess:
        draws = self.rng.random((4 * REFERENCE, self.space.dim))
        draws = Encoding(self.space, self.macs, self.max_macs, draws).feasible(draws)[0]
        if len(draws) < FEW:
            draws = np.concatenate([draws, self.sample(FEW)])
        draws = draws[:REFERENCE]
        self._encoding = Encoding(self.space, self.macs, self.max_macs, draws)
        self._reference = self._encoding.feasible(draws)[1]
        learned = {d: g for d, g in self.archive.genomes.items() if self.archive.met[d] == 0.0}
        self._digests = list(learned)
        genomes = np.array(list(learned.values()), dtype=np.float64).reshape(-1, self.space.dim)
        self._genomes, self._points = self._encoding.feasible(genomes)
        self._listing = self._list() if self.space.size <= LISTABLE else None
        return GaussianProcess(Kernel(self.space.ordered, cost=self.macs is not None))

    def _list(self) -> tuple[Array, Array]:
        """Return all feasible architectures as genomes and points, each once."""
        places = [(np.arange(len(g.values)) + 0.5) / len(g.values) for g in self.space.genes]
        grid = np.array(list(itertools.product(*places)), dtype=np.float64)
        genomes, points = self._encoding.feasible(grid)
        # Genes that do not count make many genomes of one architecture.
        first = np.sort(np.unique(points, axis=0, return_index=True)[1])
        return genomes[first], points[first]

    def _first(self, process: GaussianProcess, missing: int) -> list[Genome]:
        """Return what the start misses, then, in a large ask, what the cost alone promises."""
        batch = self._design(min(missing, self.population_size))
        if not batch or len(batch) == self.population_size:
            return batch
        known = np.concatenate([self._points, self._encoding.feasible(np.array(batch))[1]])
        process.condition(known, process.kernel.mean(known))
        return self._filled(batch, process, known, *self._pool())

    def _design(self, n: int) -> list[Genome]:
        """Return up to n new genomes that tell most about the whole space."""
        genomes, points = self._pool()
        kept = self.rng.permutation(len(genomes))[:DESIGN]
        genomes, points = genomes[kept], points[kept]
        known = self._points
        batch: dict[str, Genome] = {}
        while len(batch) < n and self._process is not None and len(genomes):
            gains = knowledge_gains(self._process, known, points, self._reference)
            index = self._first_new(gains, genomes, batch)
            if index is None:
                break
            known = np.concatenate([known, points[[index]]])
        return list(batch.values())

    def _improvements(self, process: GaussianProcess, fitness: Array) -> list[Genome]:
        """Return up to population_size new genomes of greatest expected improvement."""
        known = self._points
        scores = normal_scores(fitness)
        if self._learned == 0 or len(scores) - self._learned > RELEARN * len(scores):
            process.fit(known, scores)
            self._learned = len(scores)
        process.condition(known, scores)
        good = np.array([self.success(digest) is not None for digest in self._digests])
        genomes, points = self._pool()
        if self._listing is None:
            order = np.argsort(fitness, kind="stable")[: min(BEST, int(good.sum()))]
            mutants, at = self._encoding.feasible(self._mutants(self._genomes[order]))
            genomes, points = np.concatenate([mutants, genomes]), np.concatenate([at, points])
        return self._filled([], process, known[good], genomes, points)

    def _filled(
        self, begun: list[Genome], process: GaussianProcess, known: Array, genomes: Array, at: Array
    ) -> list[Genome]:
        """Return a batch, continued with those of genomes and their points that promise most.

        The best of ``known`` is what they have to improve on.
        """
        if len(genomes) == 0:
            return begun
        # Not the lowest fitness, which may be luck, but the lowest that is believed.
        belief = Belief(process, at, float(process.predict(known)[0].min()))
        batch = {self.identify(genome)[0]: genome for genome in begun}
        while len(batch) < self.population_size:
            index = self._first_new(belief.scores(), genomes, batch)
            if index is None:
                break
            if len(batch) < self.population_size:
                belief.take(index)
        return list(batch.values())

    def _mutants(self, parents: Array) -> Array:
        """Return genomes that differ from their parents in one or two genes."""
        mutants = parents[np.arange(MUTANTS) % len(parents)].copy()
        for share in (1.0, 0.5):
            rows = np.flatnonzero(self.rng.random(MUTANTS) < share)
            columns = self.rng.integers(self.space.dim, size=len(rows))
            place = mutants[rows, columns]
            width = self.space.bins[columns]
            step = np.where(
                width > 0.0,
                width * self.rng.choice([-1.0, 1.0], len(rows)),
                CONTINUOUS_STEP * self.rng.standard_normal(len(rows)),
            )
            near = self.space.ordered[columns] & (self.rng.random(len(rows)) < 0.5)
            anywhere = self.rng.random(len(rows))
            mutants[rows, columns] = np.where(near, np.clip(place + step, 0.0, 1.0), anywhere)
        return mutants

    def _pool(self) -> tuple[Array, Array]:
        """Return all architectures of a small space, draws from a large one: genomes, points."""
        if self._listing is not None:
            genomes, points = self._listing
            for asked in self._points[self._listed :]:
                unknown = np.any(points != asked, axis=1)
                genomes, points = genomes[unknown], points[unknown]
            self._listing, self._listed = (genomes, points), len(self._points)
            return self._listing
        genomes, points = self._encoding.feasible(self.rng.random((DRAWS, self.space.dim)))
        if len(genomes) < FEW:
            more, at = self._encoding.feasible(self.sample_new(FEW))
            genomes, points = np.concatenate([genomes, more]), np.concatenate([points, at])
        return genomes, points

    def _first_new(self, scores: Array, genomes: Array, batch: dict[str, Genome]) -> int | None:
        """Add the best-scored new genome to a batch and return its index, None if none is new."""
        for index in np.argsort(-scores, kind="stable").tolist():
            digest, violation = self.identify(genomes[index])
            if violation == 0.0 and digest not in batch and self.is_new(digest):
                batch[digest] = genomes[index]
                return int(index)
        return None
