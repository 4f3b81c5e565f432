"""General optimizers on the problems of ``replay``, as rivals of evonas' strategies.

Each is used plainly, as its documentation (or the published code) does. All share
``Memo``: repeats are answered from memory and cost nothing, the budget counts distinct
trainings, and who ends or only repeats itself starts anew, so that everyone spends it.
Where a library could be set up in several ways, the docstring says which was taken, and why.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import logging
import random
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from memo import PATIENCE, Memo, Spent, Stuck
from replay import Problem, Trace

from evonas.optimizers.common.global_state_guards import guarded_global_rng, no_logging_setup
from evonas.space import SearchSpace


class NeedsLibraries:
    """A contender and the libraries that it needs, as they are imported."""

    label: str
    libraries: tuple[str, ...]
    body: Callable[..., None]

    def missing(self) -> list[str]:
        """Return the needed libraries that are not installed."""
        return [name for name in self.libraries if not _installed(name)]

    def load(self) -> None:
        """Import the libraries, so that a search is not charged for it."""
        with quiet(0):
            for name in self.libraries:
                importlib.import_module(name)

    def version(self) -> str:
        """Return versions of the libraries and a mark of the settings used here."""
        mark = f"{zlib.crc32(inspect.getsource(self.body).encode()):08x}"
        return " ".join(
            [
                f"{name.split('.')[0]} {importlib.metadata.version(DISTRIBUTIONS.get(name, name))}"
                for name in self.libraries
            ]
            + [mark]
        )


@dataclass(frozen=True)
class Rival(NeedsLibraries):
    """One general optimizer.

    Attributes:
        label: its name in tables.
        libraries: packages that it needs, as they are imported.
        serial: how many it asks before it is told, when not run in batches.
        batches: whether it can be asked for a batch.
        slow: whether a search takes minutes rather than seconds.
        body: searches until ``Spent``, given the memo, a seed, the batch and ``noisy``.
    """

    label: str
    libraries: tuple[str, ...]
    serial: int
    batches: bool
    slow: bool
    body: Callable[[Memo, int, int, bool], None]

    def __call__(
        self, problem: Problem, budget: int, seed: int, noisy: bool = False, batch: int = 1
    ) -> Trace:
        """Search with a number of distinct trainings; ``batch`` 1 leaves the rival's own."""
        memo = Memo(problem, budget, seed, noisy)
        self.search(memo, seed, batch, noisy)
        return memo.trace()

    def search(self, memo: Memo, seed: int, batch: int = 1, noisy: bool = False) -> None:
        """Search until the memo's budget is spent."""
        size = self.asks(batch)
        # one stream of numbers for each rival and seed, never that of the noise
        own = int(np.random.default_rng([zlib.crc32(self.label.encode()), seed]).integers(1, 2**31))
        with quiet(own), contextlib.suppress(Spent):
            while True:  # a rival that ends by itself starts anew, from other numbers
                calls = memo.calls
                with contextlib.suppress(Stuck):
                    self.body(memo, own, size, noisy)
                own = own % (2**31 - 1) + 1
                if memo.calls == calls:
                    raise RuntimeError(f"{self.label} ended without a single call")

    def asks(self, batch: int) -> int:
        """Return how many it asks before it is told."""
        return batch if batch > 1 else self.serial


#: import name -> name of the distribution, where they differ
DISTRIBUTIONS = {
    "pybobyqa": "Py-BOBYQA",
    "neps": "neural-pipeline-search",
    "syne_tune.optimizer.schedulers.hyperband": "syne-tune",
}

RIVALS: dict[str, Rival] = {}
#: Those that look for a whole front of error and cost.
FRONT_RIVALS: dict[str, Rival] = {}


def rival(
    label: str,
    *libraries: str,
    serial: int = 1,
    batches: bool = True,
    slow: bool = False,
    among: dict[str, Rival] = RIVALS,
) -> Callable[[Callable[[Memo, int, int, bool], None]], Callable[[Memo, int, int, bool], None]]:
    """Enter a function among the rivals, under its own name."""

    def enter(body: Callable[[Memo, int, int, bool], None]) -> Any:
        among[body.__name__] = Rival(label, libraries, serial, batches, slow, body)
        return body

    return enter


@contextlib.contextmanager
def quiet(seed: int) -> Iterator[None]:
    """Silence libraries, keep them from log files, and lend them global random numbers."""
    outside, level = random.getstate(), logging.root.manager.disable
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    try:
        with (
            guarded_global_rng(np.random.RandomState(seed)),
            warnings.catch_warnings(),
            no_logging_setup(),  # pyswarms' would open report.log in the working directory
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(outside)
        logging.disable(level)


def _installed(name: str) -> bool:
    try:
        with quiet(0):  # a module's package is imported, and may print
            return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that a module is in
        return False


@rival("Optuna TPE", "optuna")
def optuna_tpe(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Tree-structured Parzen estimator, Bergstra et al. 2011; Optuna, arXiv 1907.10902."""
    import optuna

    _optuna(memo, batch, optuna.samplers.TPESampler(seed=seed, constant_liar=batch > 1))


@rival("Optuna GP", "optuna", "torch", slow=True)
def optuna_gp(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Gaussian process with log expected improvement."""
    import optuna

    sampler = optuna.samplers.GPSampler(seed=seed, deterministic_objective=not noisy)
    _optuna(memo, batch, sampler)


def _optuna(memo: Memo, batch: int, sampler: Any) -> None:
    import optuna

    study = optuna.create_study(sampler=sampler)
    while True:
        trials = [study.ask() for _ in range(batch)]
        asked = []
        for trial in trials:  # all of a batch before the first is told
            asked.append(suggested(trial, memo.space))
        for trial, indices in zip(trials, asked, strict=True):
            study.tell(trial, memo.at(indices))


def suggested(trial: Any, space: SearchSpace) -> list[int]:
    """Return the index of each gene's value that a trial of Optuna suggests."""
    return [
        trial.suggest_categorical(gene.name, list(range(len(gene.values))))
        if gene.kind == "choice"
        else trial.suggest_int(gene.name, 0, len(gene.values) - 1)
        for gene in space.genes
    ]


@rival("Nevergrad portfolio 1+1", "nevergrad")
def nevergrad_portfolio(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """PortfolioDiscreteOnePlusOne; mutation: Dang and Lehre 2016, arXiv 1606.05551."""
    import nevergrad as ng

    # the default, a choice drawn by weights, finds the best 0.1 % far more rarely
    genes = [ng.p.Choice(list(range(size)), deterministic=True) for size in memo.sizes]
    parametrization = ng.p.Tuple(*genes)
    parametrization.random_state.seed(seed)
    optimizer = ng.optimizers.PortfolioDiscreteOnePlusOne(
        parametrization, budget=memo.budget, num_workers=batch
    )
    while True:
        candidates = [optimizer.ask() for _ in range(batch)]
        for candidate in candidates:
            optimizer.tell(candidate, memo.at(candidate.value))


@rival("regularized evolution")
def regularized_evolution(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Aging evolution: population 50, sample 10, one gene mutated; Real et al. 2019, 1802.01548."""
    rng = np.random.default_rng(seed)
    population: list[tuple[float, list[int]]] = []
    most = min(50, max(memo.budget // 4, 2))  # a small budget must leave some to evolve
    while len(population) < most:
        indices = [int(rng.integers(size)) for size in memo.sizes]
        population.append((memo.at(indices), indices))
    while True:
        children = []
        for _ in range(batch):
            drawn = rng.choice(len(population), min(10, len(population)), replace=False)
            child = list(min((population[k] for k in drawn), key=lambda member: member[0])[1])
            gene = int(rng.choice([k for k, size in enumerate(memo.sizes) if size > 1]))
            others = [value for value in range(memo.sizes[gene]) if value != child[gene]]
            child[gene] = int(rng.choice(others))
            children.append(child)
        population += [(memo.at(child), child) for child in children]
        population = population[-most:]


@rival("plain CMA-ES (pycma)", "cma", serial=10)
def plain_cma(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Hansen and Ostermeier 2001 as published for heads: random start, sigma 0.3, bounds."""
    import cma

    options = {
        "bounds": [0.0, 1.0],
        "popsize": batch,
        "seed": seed,
        "verbose": -10,  # below -9 neither messages nor a look for cma_signals.in
        "signals_filename": "",
        "verb_log": 0,
        "verb_disp": 0,
    }
    start = np.random.default_rng(seed).random(memo.space.dim)
    strategy = cma.CMAEvolutionStrategy(start, 0.3, options)
    while not strategy.stop():
        points = strategy.ask()
        strategy.tell(points, [memo(point) for point in points])


@rival("plain GA (published)", serial=5)
def plain_ga(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Population 10, 5 children: tournament of 3, p 0.3, N(0, 0.3), no crossover; best 5 stay.

    In batches of b: population 2 b, b children.
    """
    rng = np.random.default_rng(seed)
    points = rng.random((2 * batch, memo.space.dim))
    fitness = np.array([memo(point) for point in points])
    while True:
        drawn = np.array([rng.choice(2 * batch, 3, replace=False) for _ in range(batch)])
        parents = points[drawn[np.arange(batch), np.argmin(fitness[drawn], axis=1)]]
        steps = rng.normal(0.0, 0.3, parents.shape) * (rng.random(parents.shape) < 0.3)
        children = np.clip(parents + steps, 0.0, 1.0)
        told = np.array([memo(child) for child in children])
        kept = np.argsort(fitness, kind="stable")[:batch]
        points = np.concatenate([points[kept], children])
        fitness = np.concatenate([fitness[kept], told])


@rival("default GA (pymoo)", "pymoo", serial=10)
def default_ga(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """pymoo's GA (SBX, polynomial mutation) on floats, Blank and Deb 2020; population as asked."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem as Box

    algorithm = GA(pop_size=batch)
    box = Box(n_var=memo.space.dim, n_obj=1, xl=0.0, xu=1.0)
    algorithm.setup(box, termination=("n_gen", PATIENCE * memo.budget), seed=seed, verbose=False)
    while algorithm.has_next():
        asked = algorithm.ask()
        if asked is None or len(asked) == 0:
            return
        asked.set("F", np.array([[memo(point)] for point in asked.get("X")]))
        for individual in asked:
            individual.evaluated.add("F")
        algorithm.tell(infills=asked)


@rival("plain PSO (pyswarms)", "pyswarms", serial=10)
def plain_pso(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Global-best swarm of 10, omega 0.5, phi 0.4 and 0.6, clipped, as published; Miranda 2018.

    The library's own first velocities all point to the upper corner of the cube, which is
    luck where the best lies there and misfortune where it does not: both signs here.
    """
    from pyswarms.single import GlobalBestPSO

    swarm = GlobalBestPSO(
        batch,
        memo.space.dim,
        {"w": 0.5, "c1": 0.4, "c2": 0.6},
        bounds=(np.zeros(memo.space.dim), np.ones(memo.space.dim)),
        bh_strategy="nearest",
        velocity_clamp=(-1.0, 1.0),
    )
    swarm.optimize(
        lambda points: np.array([memo(point) for point in points]),
        iters=PATIENCE * memo.budget,
        verbose=False,
    )


@rival("plain BOBYQA (Py-BOBYQA)", "pybobyqa", batches=False)
def plain_bobyqa(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """One random start of at most 20 calls, rhobeg 0.3, as published; arXiv 1804.00154."""
    import pybobyqa

    dim = memo.space.dim
    pybobyqa.solve(
        memo,
        np.random.default_rng(seed).random(dim),
        bounds=(np.zeros(dim), np.ones(dim)),
        maxfun=20,
        rhobeg=0.3,
        seek_global_minimum=True,
    )


@rival("Optuna NSGA-II", "optuna", batches=False, among=FRONT_RIVALS)
def optuna_nsga2(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """Optuna's NSGAIISampler as it comes: population 50; Deb et al. 2002."""
    _optuna_front(memo, seed, population=50)


@rival("Optuna NSGA-II, population 20", "optuna", batches=False, among=FRONT_RIVALS)
def optuna_nsga2_20(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """The same with ten generations of 20 in 200 trainings, instead of four of 50."""
    _optuna_front(memo, seed, population=20)


def _optuna_front(memo: Memo, seed: int, population: int) -> None:
    import optuna

    sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    while True:
        trial = study.ask()
        study.tell(trial, list(memo.axes_at(suggested(trial, memo.space))))


@rival("plain NSGA-II (pymoo)", "pymoo", serial=20, among=FRONT_RIVALS)
def plain_nsga2(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
    """pymoo's NSGA-II (SBX, polynomial mutation) on floats, Deb et al. 2002; population as asked.

    20 instead of the library's 100, with which 200 trainings would be two generations.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as Box

    algorithm = NSGA2(pop_size=batch)
    box = Box(n_var=memo.space.dim, n_obj=2, xl=0.0, xu=1.0)
    algorithm.setup(box, termination=("n_gen", PATIENCE * memo.budget), seed=seed, verbose=False)
    while algorithm.has_next():
        asked = algorithm.ask()
        if asked is None or len(asked) == 0:
            return
        asked.set("F", np.array([memo.axes(point) for point in asked.get("X")]))
        for individual in asked:
            individual.evaluated.add("F")
        algorithm.tell(infills=asked)
