"""Components that every search needs, whether its networks are trained or looked up in a table."""

from __future__ import annotations

import hashlib
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evonas.core import registry
from evonas.core.experiment import Experiment, Part
from evonas.core.settings import FinalsSettings
from evonas.core.version import __version__
from evonas.errors import InputError
from evonas.estimation.cost.block_summary import Block
from evonas.estimation.cost.limits import KnownCosts
from evonas.estimation.estimator import Split
from evonas.estimation.execution.base import Executor
from evonas.estimation.features.feature_cache import Features, Progress
from evonas.estimation.objective import Objective
from evonas.models.weight_count import WeightCount
from evonas.optimizers.base import Optimizer
from evonas.optimizers.common.arguments import Excess
from evonas.runs.file_schemas import BackboneCost
from evonas.runs.run_store import Trial
from evonas.runs.training_record import TrainingRecord
from evonas.space import Architecture, SearchSpace
from evonas.workflows.cost_sample import CostSample
from evonas.workflows.inheritance import WeightInheritance
from evonas.workflows.paused_trainings import PausedTrainings, steps_of
from evonas.workflows.racing import Race

_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Ready:
    """State of a search that can start its executor.

    Attributes:
        executor: starts the executor.
        environment: content of environment.json, but for warnings and the metric.
        features: the cached features, which are not cleared while this object is held.
    """

    executor: Callable[[], Executor]
    environment: Mapping[str, Any]
    features: Features | None = None


@dataclass(frozen=True)
class BaseComponents(ABC):
    """Base class of the components of an experiment.

    Args:
        experiment: the experiment.
    """

    experiment: Experiment

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """Search space, narrowed as the experiment says."""

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """Fitness, axes and the limit on cost."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of candidates that are evaluated at once."""

    @property
    @abstractmethod
    def baselines(self) -> tuple[tuple[str, Architecture], ...]:
        """The hand-made networks: (name, architecture)."""

    @property
    @abstractmethod
    def error(self) -> tuple[str, str]:
        """Name and unit of the metric that is minimised."""

    @abstractmethod
    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds of an architecture, without building it."""

    @abstractmethod
    def device_description(self) -> tuple[str, ...]:
        """Return words on where candidates are evaluated."""

    @abstractmethod
    def fingerprints(self) -> dict[str, str]:
        """Return hashes of what measurements depend on, by name; ``data`` and ``backbone``."""

    @abstractmethod
    def ready(self, progress: Progress) -> Ready:
        """Do all slow work that comes before the first evaluation."""

    @property
    def constant(self) -> float | None:
        """Error of the best constant prediction; None: unknown."""
        return None

    def feature_passes(self) -> int:
        """Return how many images have to pass through the backbone before the search."""
        return 0

    def tap_of(self, architecture: Architecture) -> str:
        """Return the tap whose feature map is the input of an architecture; empty: none."""
        return ""

    def tensors(self, architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of the tensors of an architecture; empty: it has no weights."""
        return {}

    def blocks(self, architecture: Architecture) -> list[Block]:
        """Return the blocks of an architecture, in order; empty: unknown."""
        return []

    def initial_designs(self) -> tuple[Trial, ...]:
        """Return hand-made networks that are trained first; none by default."""
        return ()

    def backbone_cost(self, architecture: Architecture) -> BackboneCost | None:
        """Return the cost of the backbone that an architecture stands on; None: there is none."""
        return None

    def warnings(self) -> list[str]:
        """Return lines that stand below every table."""
        return []

    def cautions(self) -> list[str]:
        """Return lines that a user should read before the search begins."""
        return []

    def training_record(self) -> TrainingRecord | None:
        """Return the images of training and validation; None: there are none."""
        return None

    def optimizer(
        self, experiment: Experiment | None = None, tap_prior: Mapping[str, float] = _NONE
    ) -> Optimizer:
        """Return a new optimizer with the experiment's seed.

        Args:
            experiment: whose strategy it is, on the space and with the limits of this one; None:
                this one.
            tap_prior: tap -> error of its probe, for a strategy with the option ``prior``.
        """
        known, chosen = self.known, experiment or self.experiment
        if tap_prior:
            options = {**chosen.optimizer.options, "prior": {"tap": tap_prior}}
            part = Part(name=chosen.optimizer.name, **options)
            chosen = chosen.model_copy(update={"optimizer": part})
        limit = known.settings.max_macs
        return make_optimizer(chosen, self.space, known.counted_macs, limit, known.excess)

    def tap_prior(self, features: Features | None) -> dict[str, float]:
        """Return tap -> error of a probe, for the strategy; empty: it gets none."""
        return {}

    @property
    def known(self) -> KnownCosts:
        """Costs of architectures before training, and limits on them."""
        objective = self.objective
        return objective.known or KnownCosts(objective.settings, self.cost, lambda _: WeightCount())

    @cached_property
    def cost_sample(self) -> CostSample:
        """Costs of random architectures of the space, from the experiment's seed."""
        return CostSample.drawn(self.space, self.known, self.experiment.seed)

    def race(self, run_dir: Path) -> Race | None:
        """Return the race of a search; None: every candidate trains to the end.

        Raises:
            InputError: trainings are too short, or there are none.
        """
        experiment = self.experiment
        if experiment.fidelity.name != "racing":
            return None
        return Race(experiment.fidelity, experiment.training, run_dir / "rungs")

    def paused_trainings(self, run_dir: Path) -> PausedTrainings | None:
        """Return the paused trainings of a search; None: its strategy does not decide on them.

        Raises:
            InputError: networks inherit weights, or trainings are too short.
        """
        steps = steps_of(self.experiment.fidelity, self.experiment.training)
        if steps and self.experiment.inherit.enabled:
            raise InputError(
                "inherit=true: expected fidelity=full or racing, got fidelity=curves, which "
                "compares trainings by equal epochs: leave one of them out"
            )
        return PausedTrainings(run_dir / "rungs", steps) if steps else None

    def inheritance(self, optimizer: Optimizer, run_dir: Path) -> WeightInheritance:
        """Return the weight inheritance of a search.

        Raises:
            InputError: there are no weights.
        """
        settings, training = self.experiment.inherit, self.experiment.training
        if self.experiment.table and settings.enabled:
            raise InputError("inherit=true: a table has no weights that could be inherited")
        return WeightInheritance(settings, optimizer, self.tensors, training, run_dir / "weights")

    @property
    def final_folds(self) -> Sequence[Split]:
        """Splits of the finals, used in turn; empty: that of the search."""
        return ()

    @property
    def finals(self) -> FinalsSettings | None:
        """Settings of the finals; None: there are none, as in a table with one result each."""
        settings = self.experiment.finals
        return settings if settings.networks and not self.experiment.table else None


def make_optimizer(
    experiment: Experiment,
    space: SearchSpace,
    cost: Callable[[Architecture], int],
    max_macs: int | None,
    excess: Excess | None = None,
) -> Optimizer:
    """Return a new optimizer with the experiment's options, budget and seed.

    Raises:
        InputError: an option is unusable, or the strategy or a table knows no paused trainings.
    """
    further: dict[str, Any] = {} if excess is None else {"excess": excess}
    if experiment.table and experiment.fidelity.name != "full":
        given = experiment.fidelity.name
        raise InputError(f"fidelity={given}: a table has one answer for each, and no epochs")
    if steps := steps_of(experiment.fidelity, experiment.training):
        name = experiment.optimizer.name
        if not registry.load("optimizer", name).resumes:
            raise InputError(
                "fidelity=curves: expected a strategy that forecasts learning curves, such as "
                f"surrogate, got optimizer={name}: take that, or fidelity=racing"
            )
        further["steps"] = steps
    made: Optimizer = registry.create(
        "optimizer",
        experiment.optimizer.name,
        experiment.optimizer.options,
        space,
        budget=experiment.budget,
        seed=experiment.seed,
        macs=cost,
        max_macs=max_macs,
        **further,
    )
    return made


def surroundings() -> dict[str, Any]:
    """Return the versions that a run depends on."""
    packages = ("torch", "numpy", "cma", "pymoo", "pyswarms", "Py-BOBYQA", "ray", "fvcore")
    return {
        "evonas": __version__,
        "code": _code_hash(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: version(name) for name in packages},
    }


def _code_hash() -> str:
    """Return a hash of the package's source files, hexadecimal."""
    folder = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
