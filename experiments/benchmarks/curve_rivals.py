"""Multi-fidelity optimizers on a table of learning curves, as rivals of evonas' strategies.

Each is used plainly, as its documentation does: trainings of 1 to all epochs of the table, one
training at a time, eta 3. Budgets that a rival computes as fractions of epochs are rounded up.
Trainings continue where they paused: the stopwatch counts new epochs only, so a rival that trains
from the start at a higher budget is charged as if it had kept a checkpoint. Choice genes are
categorical, ordinal genes ordered. A rival that ends, or only repeats itself, starts anew with
other random numbers; its repeats cost nothing.

All libraries are optional; a rival whose library is missing is left out. ``optuna`` is in the extra
``bench``; ``smac``, ``DEHB`` and ``neural-pipeline-search`` are installed by their names, and
``syne-tune<0.14``, since later releases have no MOBSTER. The last two pin older versions of numpy,
pandas and others than evonas runs with, and work with newer ones: install them with ``--no-deps``,
or elsewhere. NePS' ``ifbo`` is left out: its model is a pickle that is downloaded at the first ask.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from curve_table import CurveTable, Stopwatch, TimeUp
from memo import PATIENCE, STANDSTILL, Stuck
from rivals import NeedsLibraries, quiet, suggested

ETA = 3
#: Epochs of the shortest training.
LEAST = 1


class GuardedStopwatch(Stopwatch):
    """Stopwatch that ends searches which repeat themselves and spend nothing.

    Args:
        table: the learning curves.
        seconds: of training, after which the search ends.
        until: error that ends the search as well, once it is seen.

    Attributes:
        calls: trainings, begun or continued; a next epoch of the latest one is no call.
    """

    def __init__(self, table: CurveTable, seconds: float, until: float = -math.inf) -> None:
        super().__init__(table, seconds)
        self.calls, self._until = 0, until
        self._free = 0  # calls in a row without a new epoch
        self._latest = (-1, 0)

    def error(self, row: int, epochs: int) -> float:
        """Train an architecture up to ``epochs`` in all, and return its lowest error by then.

        Raises:
            TimeUp: the seconds are spent, ``until`` was seen, or the calls are many times the
                architectures.
            Stuck: the search has been repeating itself for long.
        """
        before = self.spent
        error = super().error(row, epochs)
        if row != self._latest[0] or epochs <= self._latest[1]:
            self.calls += 1
            self._free += 1
        self._latest = (row, epochs)
        if self.spent > before:
            self._free = 0
        if self._lowest <= self._until or self.calls > PATIENCE * len(self.table.seconds):
            raise TimeUp
        if self._free >= STANDSTILL:
            self._free = 0
            raise Stuck
        return error

    def error_at(self, indices: list[int], epochs: float) -> float:
        """Return ``error`` where each gene has the value of an index, after epochs rounded up."""
        return self.error(self.table.row_of(tuple(indices)), math.ceil(epochs - 1e-6))


Body = Callable[[GuardedStopwatch, int], None]


@dataclass(frozen=True)
class CurveRival(NeedsLibraries):
    """Multi-fidelity optimizer.

    Attributes:
        label: its name in tables.
        libraries: packages that it needs, as they are imported.
        body: function that searches until ``TimeUp``, given the stopwatch and a seed.
        slow: whether a search computes for minutes rather than seconds.
    """

    label: str
    libraries: tuple[str, ...]
    body: Body
    slow: bool = False

    def __call__(self, stopwatch: GuardedStopwatch, seed: int) -> None:
        """Search until the stopwatch's seconds are spent."""
        # one stream of numbers for each rival and seed
        own = int(np.random.default_rng([zlib.crc32(self.label.encode()), seed]).integers(1, 2**31))
        with contextlib.suppress(TimeUp):
            while True:
                calls = stopwatch.calls
                with quiet(own), contextlib.suppress(Stuck):
                    self.body(stopwatch, own)
                own = own % (2**31 - 1) + 1
                if stopwatch.calls == calls:
                    raise RuntimeError(f"{self.label} ended without a single training")


CURVE_RIVALS: dict[str, CurveRival] = {}


def curve_rival(label: str, *libraries: str, slow: bool = False) -> Callable[[Body], Body]:
    """Enter a function among the rivals, under its own name."""

    def enter(body: Body) -> Body:
        CURVE_RIVALS[body.__name__] = CurveRival(label, libraries, body, slow)
        return body

    return enter


@curve_rival("random Hyperband")
def random_hyperband(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Hyperband of random architectures, Li et al. 2017, arXiv 1603.06560, algorithm 1."""
    rng, table = np.random.default_rng(seed), stopwatch.table
    most = int(math.log(table.epochs / LEAST, ETA) + 1e-9)
    while True:
        for bracket in range(most, -1, -1):
            count = math.ceil((most + 1) / (bracket + 1) * ETA**bracket)
            rows = [int(row) for row in rng.integers(len(table.seconds), size=count)]
            for rung in range(bracket, -1, -1):
                epochs = math.ceil(table.epochs / ETA**rung - 1e-6)
                errors = [stopwatch.error(row, epochs) for row in rows]
                order = np.argsort(errors, kind="stable")
                rows = [rows[k] for k in order[: len(rows) // ETA]]


@curve_rival("Optuna TPE, whole trainings", "optuna")
def optuna_whole(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Tree-structured Parzen estimator without fidelity, as a reference; arXiv 1907.10902."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    while True:
        trial = study.ask()
        study.tell(trial, stopwatch.error_at(_optuna_genes(trial, stopwatch), _whole(stopwatch)))


@curve_rival("Optuna TPE + Hyperband", "optuna")
def optuna_hyperband(stopwatch: GuardedStopwatch, seed: int) -> None:
    """TPE whose trials ``HyperbandPruner`` may end after each epoch; arXiv 1907.10902."""
    import optuna

    whole = _whole(stopwatch)
    study = optuna.create_study(
        study_name=str(seed),  # its hash says which bracket a trial is in
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(
            min_resource=LEAST, max_resource=whole, reduction_factor=ETA
        ),
    )
    while True:
        trial = study.ask()
        indices = _optuna_genes(trial, stopwatch)
        for epoch in range(1, whole + 1):
            error = stopwatch.error_at(indices, epoch)
            trial.report(error, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, error)


@curve_rival("SMAC3 multi-fidelity", "smac", "ConfigSpace")
def smac_hyperband(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Random forest and Hyperband, Lindauer et al. 2022, arXiv 2109.09831.

    Five random configurations come first, and 500 trials are announced, as in its documentation's
    example of a perceptron's epochs.
    """
    from smac import MultiFidelityFacade, Scenario
    from smac.main.exceptions import ConfigurationSpaceExhaustedException
    from smac.runhistory import TrialValue

    names = list(stopwatch.table.genes)
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            _config_space(stopwatch, seed),
            output_directory=folder,
            deterministic=True,
            min_budget=LEAST,
            max_budget=_whole(stopwatch),
            n_trials=500,
            seed=seed,
        )
        smac = MultiFidelityFacade(
            scenario,
            initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=5),
            intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=ETA),
            logging_level=False,
            overwrite=True,
        )
        with contextlib.suppress(ConfigurationSpaceExhaustedException):
            while True:
                info = smac.ask()
                error = stopwatch.error_at([info.config[name] for name in names], info.budget)
                smac.tell(info, TrialValue(cost=error), save=False)  # no file of every trial


@curve_rival("DEHB", "dehb", "ConfigSpace")
def dehb(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Differential evolution and Hyperband, Awad, Mallik and Hutter 2021, arXiv 2105.09821."""
    from dehb import DEHB

    names, seconds = list(stopwatch.table.genes), stopwatch.table.seconds
    with tempfile.TemporaryDirectory() as folder:
        search = DEHB(
            cs=_config_space(stopwatch, seed),
            min_fidelity=LEAST,
            max_fidelity=_whole(stopwatch),
            eta=ETA,
            n_workers=1,
            seed=seed,
            output_path=folder,
            save_freq="end",
        )
        try:
            while True:
                job = search.ask()
                indices = [int(job["config"][name]) for name in names]
                error = stopwatch.error_at(indices, job["fidelity"])
                cost = float(seconds[stopwatch.table.row_of(tuple(indices))] * job["fidelity"])
                search.tell(job, {"fitness": error, "cost": cost})
        finally:
            search.logger.remove()  # its log file lies in the folder


@curve_rival("NePS PriorBand, uniform prior", "neps")
def neps_priorband(stopwatch: GuardedStopwatch, seed: int) -> None:
    """PriorBand, Mallik et al. 2023, arXiv 2306.12370, without a user's prior.

    What is left of it samples uniformly or around the best architecture so far.
    """
    import neps

    _neps(stopwatch, seed, neps.algorithms.priorband)


@curve_rival("NePS PriorBand + BO, uniform prior", "neps", slow=True)
def neps_model(stopwatch: GuardedStopwatch, seed: int) -> None:
    """PriorBand whose samples come from a Gaussian process later; Mallik et al. 2023, appendix E.4.

    The model takes over after the epochs of ten whole trainings: the library has no default.
    """
    import neps

    _neps(stopwatch, seed, neps.algorithms.priorband, bayesian_optimization_kick_in_point=10)


def _neps(stopwatch: GuardedStopwatch, seed: int, algorithm: Any, **options: Any) -> None:
    import neps
    import torch

    table = stopwatch.table
    genes = {
        gene.name: neps.Categorical(list(range(len(gene.values))))
        if gene.kind == "choice"
        else neps.Integer(0, len(gene.values) - 1)
        for gene in table.space.genes
    }
    epochs = neps.IntegerFidelity(lower=LEAST, upper=table.epochs)
    space = type("Space", (neps.PipelineSpace,), {**genes, "epochs": epochs})()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # it draws from torch's and numpy's global generators
        search = neps.AskAndTell(algorithm(space, eta=ETA, **options))
        while True:
            trial = search.ask()
            indices = [int(trial.config[name]) for name in table.genes]
            search.tell(trial, stopwatch.error_at(indices, trial.config["epochs"]))


@curve_rival("Syne Tune ASHA", "syne_tune.optimizer.schedulers.hyperband")
def syne_asha(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Asynchronous successive halving that stops trials; Li et al. 2020, arXiv 1810.05934."""
    from syne_tune.optimizer.baselines import ASHA

    _syne(stopwatch, seed, ASHA)


@curve_rival("Syne Tune MOBSTER", "syne_tune.optimizer.schedulers.hyperband", "autograd", slow=True)
def syne_mobster(stopwatch: GuardedStopwatch, seed: int) -> None:
    """ASHA of a Gaussian process over rungs, Klein et al. 2020, arXiv 2003.10865."""
    from syne_tune.optimizer.baselines import MOBSTER

    _syne(stopwatch, seed, MOBSTER)


@curve_rival(
    "Syne Tune Hyper-Tune", "syne_tune.optimizer.schedulers.hyperband", "autograd", slow=True
)
def syne_hypertune(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Models of each rung, weighted as they rank the highest; Li et al. 2022, arXiv 2201.06834."""
    from syne_tune.optimizer.baselines import HyperTune

    _syne(stopwatch, seed, HyperTune)


def _syne(stopwatch: GuardedStopwatch, seed: int, scheduler: Any) -> None:
    from datetime import datetime

    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import choice, ordinal
    from syne_tune.optimizer.scheduler import SchedulerDecision

    table = stopwatch.table
    space = {
        gene.name: choice([str(index) for index in range(len(gene.values))])  # words have no order
        if gene.kind == "choice"
        else ordinal(list(range(len(gene.values))), kind="equal")
        for gene in table.space.genes
    }
    search = scheduler(
        space,
        metric="error",
        mode="min",
        resource_attr="epoch",
        max_t=table.epochs,
        grace_period=LEAST,
        reduction_factor=ETA,
        random_seed=seed,
    )
    number = 0
    while (suggestion := search.suggest(number)) is not None:
        trial = Trial(number, suggestion.config, datetime.now())
        number += 1
        search.on_trial_add(trial)
        indices = [int(trial.config[name]) for name in table.genes]
        for epoch in range(1, table.epochs + 1):
            result = {"error": stopwatch.error_at(indices, epoch), "epoch": epoch}
            decision = search.on_trial_result(trial, result)
            if decision != SchedulerDecision.CONTINUE and epoch < table.epochs:
                search.on_trial_remove(trial)
                break
        else:
            search.on_trial_complete(trial, result)


def _whole(stopwatch: GuardedStopwatch) -> int:
    return stopwatch.table.epochs


def _optuna_genes(trial: Any, stopwatch: GuardedStopwatch) -> list[int]:
    return suggested(trial, stopwatch.table.space)


def _config_space(stopwatch: GuardedStopwatch, seed: int) -> Any:
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter

    space = ConfigurationSpace(seed=seed)
    for gene in stopwatch.table.space.genes:
        indices = list(range(len(gene.values)))
        kind = CategoricalHyperparameter if gene.kind == "choice" else OrdinalHyperparameter
        space.add(kind(gene.name, indices))
    return space
