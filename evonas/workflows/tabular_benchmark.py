"""A search in a table of finished trainings: the parts that it needs, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.estimation.cost.block_summary import Block
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture, SearchSpace
from evonas.workflows.components import Ready, strategy, surroundings
from evonas.workflows.result_table import Table
from evonas.workflows.table_executor import TableExecutor


@dataclass(frozen=True)
class TabularBenchmark:
    """What ``evonas search`` asks of an assembly, answered from a table.

    Args:
        experiment: with a ``table``.
    """

    experiment: Experiment
    workers: int = 1
    baselines: tuple[tuple[str, Architecture], ...] = ()
    error: tuple[str, str] = ("error", "as in the table")

    @cached_property
    def table(self) -> Table:
        """The table.

        Raises:
            InputError: it cannot be read, or the experiment says nothing of one.
        """
        if self.experiment.table is None:
            raise InputError("table: expected the table to search in, got none")
        return Table(self.experiment.table)

    @property
    def space(self) -> SearchSpace:
        """The space that the table's columns span, narrowed as the experiment says."""
        return self.table.space.narrowed(self.experiment.space.options)

    @cached_property
    def objective(self) -> Objective:
        """What is minimised; an architecture that is not in the table is over the limit."""
        settings = self.experiment.objective
        if settings.error == "loss":
            raise InputError(
                "objective.error=loss: a table tells one error, in its column, and no losses: "
                "take objective.error=metric"
            )
        told = {"error", "macs", *(["params"] if self.table.tells_params else [])}
        if settings.mode == "soft" and settings.cost == "macs" and not self.table.tells_cost:
            raise InputError(
                "objective.mode=soft: the table tells no cost, which would make every fitness 0: "
                "name its column as table.cost, or take objective.mode=one_sided"
            )
        if settings.cost == "latency":
            raise InputError(
                "objective.cost=latency: a table tells no latencies, and its networks cannot be "
                "timed: take objective.cost=macs, or search with trainings"
            )
        if settings.cost not in told:
            raise InputError(
                "objective.cost=params: the table does not tell 'params': name its column as "
                "table.params"
            )
        for axis in settings.axes:
            if axis not in told:
                raise InputError(
                    f"objective.axes: the table does not tell {axis!r}"
                    f"{': name its column as table.params' if axis == 'params' else ''}"
                )
        limit = min(settings.max_macs or self.table.costliest, self.table.costliest)
        return Objective("error", settings.model_copy(update={"max_macs": limit}))

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds that the table tells."""
        return self.table.cost(architecture)

    def optimizer(self) -> Optimizer:
        """Return a new optimizer from the experiment's seed."""
        limit = self.objective.settings.max_macs
        return strategy(self.experiment, self.space, self.cost, limit)

    def tensors(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """Return nothing: a table has no networks."""
        return {}

    def blocks(self, architecture: Architecture) -> list[Block]:
        """Return nothing: a table has no networks."""
        return []

    @property
    def constant(self) -> None:
        """None: a table does not say what a constant prediction is worth."""
        return None

    def place(self) -> tuple[str, ...]:
        """Return where answers come from."""
        return (f"{len(self.table)} trainings in a table",)

    def origin(self) -> dict[str, str]:
        """Return hashes of what the answers follow from."""
        return {"data": self.table.fingerprint, "backbone": ""}

    def warnings(self) -> list[str]:
        """Return nothing: a table has no split."""
        return []

    def cautions(self) -> list[str]:
        """Return nothing: the answers stand in the table."""
        return []

    def ready(self, progress: Progress) -> Ready:
        """Return the executor and what it depends on; nothing has to be computed."""
        environment = {**surroundings(), **self.origin(), "space": self.space.to_dict()}
        return Ready(lambda: TableExecutor(self.table), environment)
