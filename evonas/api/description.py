"""Descriptions before anything is trained: an experiment, and the network of a genome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.budget import UNLIMITED
from evonas.core.description import (
    CachePlan,
    CostRange,
    ExperimentDescription,
    GeneDescription,
)
from evonas.core.experiment import Experiment
from evonas.core.files import read_yaml
from evonas.core.overrides import Word
from evonas.errors import InputError
from evonas.estimation.cost.block_summary import Block, blocks
from evonas.estimation.cost.limits import UNITS
from evonas.estimation.features.feature_cache import FeatureCache
from evonas.estimation.features.views import standard_views
from evonas.models.backbones.base import Shape
from evonas.models.initial_weights import read_start
from evonas.models.networks.base import Network, refuse_unread
from evonas.report.tables import Table
from evonas.runs.finals import planned
from evonas.space import Architecture, Gene, Genome, SearchSpace
from evonas.workflows.components import Components, training_components
from evonas.workflows.feasibility import (
    check_limits,
    excluding_gene,
    extreme,
    limit_shares,
)
from evonas.workflows.standard_baselines import most_heads
from evonas.workflows.tabular_benchmark import TabularBenchmark


def describe(experiment: Experiment) -> ExperimentDescription:
    """Check an experiment and describe what it is going to do, training nothing.

    Costs are those of 2000 random genomes from the seed of the experiment, and of the cheapest and
    the largest network that were found.

    Args:
        experiment: its values are checked already; its parts, files and cost limit are not.

    Raises:
        InputError: something is wrong; all complaints are in ``error.args[1:]``.
    """
    if experiment.table:
        table = TabularBenchmark(experiment)
        _check(experiment, [lambda: table.space, table.optimizer])
        return _described(table)
    components = training_components(experiment)

    def limits() -> object:
        return check_limits(components)

    def start() -> None:
        files = [experiment.training.start, experiment.retraining.start]
        for file in {*files, *(baseline.start for baseline in experiment.baselines)} - {""}:
            read_start(file)

    _check(
        experiment,
        [
            *(lambda: components.dataset, lambda: components.backbone, lambda: components.task),
            *(lambda: components.space, lambda: components.baselines, start, components.optimizer),
            *(limits, lambda: components.hardware.device),
        ],
    )
    return _described(components)


def _check(experiment: Experiment, steps: Iterable[Callable[[], object]]) -> None:
    """Take every step, whatever the others said.

    Raises:
        InputError: a step raised one; ``args[1:]`` are all messages, each once.
    """
    said: dict[str, None] = {}
    for step in steps:
        try:
            step()
        except InputError as error:
            said.setdefault(str(error.args[0]))
    if said:
        first, *others = said
        more = f" (and {len(others)} more: see `evonas validate`)" if others else ""
        raise InputError(f"experiment {experiment.name!r}: {first}{more}", *said)


def _described(plan: Components | TabularBenchmark) -> ExperimentDescription:
    """Return the description of an experiment that was checked."""
    experiment, space, limit = plan.experiment, plan.space, plan.objective.settings.max_macs
    points, costs = plan.cost_sample.points, plan.cost_sample.macs
    shares = limit_shares(plan.cost_sample)
    within = shares.within
    there = np.ones(len(costs), bool)
    budget = experiment.budget if experiment.budget < UNLIMITED else 0  # 0: only time limits it
    pauses = experiment.fidelity.name == "curves"
    trainings = {f"{'whole trainings' if pauses else 'networks'} of the search": budget}
    params, images, cache = None, {}, None
    if isinstance(plan, TabularBenchmark):
        there = costs <= plan.table.costliest  # the others are not in the table
        trainings = {f"looked up in a table of {len(plan.table)}": budget}
        low, high = int(costs[there].min()), int(costs[there].max())
    else:
        least = extreme(space, plan.cost, points[int(costs.argmin())])
        largest = extreme(space, plan.cost, points[int(costs.argmax())], -1)
        low, high = (plan.cost(space.decode(point)) for point in (least, largest))
        params = _params(plan, points, [least, largest])
        images = {side: len(indices) for side, indices in plan.dataset.sides().items()}
        cache = _cache(plan)
        trainings |= planned(experiment.finals, experiment.budget)
        trainings["baselines"] = len(plan.baselines) + most_heads(plan)
        if folds := len(plan.final_folds):
            trainings["at most of the best baseline on the folds of the finals"] = folds
    return ExperimentDescription(
        name=experiment.name,
        space=space.name,
        network=space.network,
        architectures=space.size,
        genes=tuple(map(_gene, space.genes)),
        macs=CostRange(low, int(np.median(costs[there])), high, int(there.sum())),
        params=params,
        max_macs=limit,
        share=shares.together,
        excluding=excluding_gene(space, points, within),
        images=images,
        cache=cache,
        trainings=trainings,
        epochs=0 if experiment.table else experiment.training.epochs,
        warnings=(*plan.warnings(), *plan.cautions()),
        counts=plan.objective.settings.counts,
        limits=shares.limits,
        alone=shares.alone,
        max_ms=plan.objective.settings.max_ms,
        minutes=experiment.minutes,
    )


def _gene(gene: Gene) -> GeneDescription:
    return GeneDescription(
        gene.name, gene.kind, gene.values or (gene.low, gene.high), dict(gene.when)
    )


def _params(
    components: Components, points: NDArray[np.float64], extremes: Sequence[Genome]
) -> CostRange:
    """Return the parameters of random networks; least and largest also of the extremes."""

    def count(point: Genome) -> int:
        return components.weights(components.space.decode(point)).params

    counts = [count(point) for point in points]
    every = [*counts, *map(count, extremes)]
    return CostRange(min(every), int(np.median(counts)), max(every), len(counts))


def _cache(components: Components) -> CachePlan:
    settings, backbone = components.experiment.features, components.backbone
    taps = components.taps()
    views = standard_views(settings.jitters)
    cache = FeatureCache(Path(settings.cache).expanduser())
    files = cache.paths(backbone, components.dataset, taps, views).values()
    return CachePlan(
        folder=settings.cache,
        views=tuple(view.name for view in views),
        images=len(components.dataset),
        taps={tap: backbone.taps[tap] for tap in taps},
        present=sum(file.stat().st_size for file in files if file.is_file()),
    )


@dataclass(frozen=True)
class NetworkDescription:
    """The network of a genome, block by block; ``evonas show space`` prints its table.

    Attributes:
        genome: (dim,) numbers in [0, 1].
        architecture: name of the network family, and settings.
        in_shape: (channels, height, width) of the feature map, or the image, that it takes.
        n_outputs: length of its output, or channels of its output map.
        blocks: name, layers, output shape, multiply-adds and parameters of each block.
        macs: multiply-adds for one input.
        params: parameters.
        max_macs: limit of the experiment; None: there is none.
        limits: limits that the experiment sets, but for ``max_ms``: name -> cost of the network
            as the objective counts it, and the largest value.
    """

    genome: tuple[float, ...]
    architecture: Architecture
    in_shape: Shape
    n_outputs: int
    blocks: tuple[Block, ...]
    macs: int
    params: int
    max_macs: int | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        """A row for each block."""
        rows = [
            [
                *(one.name, "x".join(map(str, one.shape)) or "-"),
                *(f"{one.macs:,}", f"{one.params:,}", one.layers),
            ]
            for one in self.blocks
        ]
        rows.append(["all", str(self.n_outputs), f"{self.macs:,}", f"{self.params:,}", ""])
        notes = [
            "settings: " + ", ".join(f"{k}={v}" for k, v in self.architecture.settings.items()),
            "genome: " + ",".join(f"{x:.4g}" for x in self.genome),
        ]
        for name, (cost, limit) in self.limits.items():
            fits = "within" if cost <= limit else "over"
            notes.append(f"{fits} the limit of {limit:,} {UNITS[name]}")
        title = f"{self.architecture.network} on a map of {'x'.join(map(str, self.in_shape))}"
        columns = ["block", "output", "multiply-adds", "parameters", "layers"]
        return Table(title, columns, rows, notes, names=1)


def describe_network(
    source: Experiment | str | Path,
    genome: str | Sequence[float] = "random",
    *,
    seed: int = 0,
    in_shape: Shape = (64, 16, 16),
    n_outputs: int = 3,
    overrides: Iterable[Word] = (),
) -> NetworkDescription:
    """Build the network of a genome, untrained, and describe it block by block.

    Args:
        source: an experiment, or the name or YAML file of a search space or an experiment; the
            space comes first where both have the name.
        genome: ``"random"``, or (dim,) numbers in [0, 1].
        seed: of a random genome.
        in_shape: (channels, height, width) of the feature map, for a search space alone: an
            experiment has the shape of the tap.
        n_outputs: outputs of the network, for a search space alone.
        overrides: changes to the experiment as ``key=value`` words.

    Raises:
        InputError: there is no such space or experiment, or the genome has another length, or
            numbers outside [0, 1].

    Examples:
        >>> evonas.describe_network("quickstart", seed=3).macs
        1126656
        >>> evonas.describe_network("master_module", in_shape=(128, 8, 8)).table
    """
    words = list(overrides)
    experiment = source if isinstance(source, Experiment) else _experiment(source, words)
    if experiment is None:
        if words:
            raise InputError(f"{words[0]}: {source} is a search space, which has no settings")
        return _of_space(_space(str(source)), genome, seed, in_shape, n_outputs)
    if experiment.table:
        raise InputError(f"experiment {experiment.name!r}: a search in a table has no networks")
    if isinstance(source, Experiment) and words:
        experiment = config.changed(experiment, words)
    components = training_components(experiment)
    chosen = _genome(components.space, genome, seed)
    architecture = components.space.decode(chosen)
    found = _network(
        chosen,
        (components.family(architecture), architecture),
        components.shape(architecture),
        components.outputs(architecture),
    )
    known = components.known
    costs, limits = known.figures(architecture), known.limits
    return replace(
        found,
        max_macs=experiment.objective.max_macs,
        limits={name: (costs[name], limit) for name, limit in limits.items()},
    )


def _experiment(source: str | Path, words: Sequence[Word]) -> Experiment | None:
    """Return the experiment of a name or file; None for a search space.

    Raises:
        InputError: it is neither, or the experiment is wrong.
    """
    for folder in ("search_spaces", "experiments"):
        try:
            path = config.find(folder, str(source))
        except InputError:
            continue
        content = read_yaml(path)
        if isinstance(content, dict) and "genes" in content:
            return None
        return config.load(path, words)
    raise InputError(
        f"{source}: expected a search space or an experiment, there is no such file or name: see "
        "`evonas list space` and `evonas list experiment`"
    )


def _space(name: str) -> SearchSpace:
    path = config.find("search_spaces", name)
    space = SearchSpace.from_file(path)
    refuse_unread(space.network, [gene.name for gene in space.genes], f"{path}: a gene")
    return space


def _of_space(
    space: SearchSpace, genome: str | Sequence[float], seed: int, in_shape: Shape, n_outputs: int
) -> NetworkDescription:
    if len(in_shape) != 3 or min(*in_shape, n_outputs) < 1:
        raise InputError(
            f"expected channels, height, width and outputs of at least 1, got {in_shape} and "
            f"{n_outputs}"
        )
    chosen = _genome(space, genome, seed)
    architecture = space.decode(chosen)
    family: Network = registry.load("network", architecture.network)()
    return _network(chosen, (family, architecture), in_shape, n_outputs)


def _genome(space: SearchSpace, genome: str | Sequence[float], seed: int) -> NDArray[np.float64]:
    """Return a genome, (dim,), in [0, 1].

    Raises:
        InputError: it is not one of the space.
    """
    if isinstance(genome, str):
        if genome == "random":
            return np.random.default_rng(seed).random(space.dim)
        raise InputError(f"genome {genome!r}: expected 'random' or {space.dim} numbers in [0, 1]")
    point = np.asarray(genome, np.float64)
    if point.shape != (space.dim,):
        names = ", ".join(gene.name for gene in space.genes)
        raise InputError(
            f"genome: expected {space.dim} numbers, one for each gene ({names}), got {point.size}"
        )
    if not ((point >= 0) & (point <= 1)).all():
        wrong = point[~((point >= 0) & (point <= 1))][0]
        raise InputError(f"genome: expected numbers in [0, 1], got {wrong:g}")
    return point


def _network(
    genome: NDArray[np.float64],
    what: tuple[Network, Architecture],
    in_shape: Shape,
    n_outputs: int,
) -> NetworkDescription:
    family, architecture = what
    with torch.random.fork_rng(devices=[]):
        module = family.build(architecture, in_shape, n_outputs)
    return NetworkDescription(
        genome=tuple(genome.tolist()),
        architecture=architecture,
        in_shape=in_shape,
        n_outputs=n_outputs,
        blocks=tuple(blocks(module, in_shape)),
        macs=family.macs(architecture, in_shape, n_outputs),
        params=sum(parameter.numel() for parameter in module.parameters()),
    )
