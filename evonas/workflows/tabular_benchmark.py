"""Tabular benchmark: components of a search whose results are looked up in a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from evonas.errors import InputError
from evonas.estimation.cost.limits import KnownCosts
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.objective import Objective
from evonas.space import Architecture, SearchSpace
from evonas.workflows.base_components import BaseComponents, Ready, surroundings
from evonas.workflows.result_table import Table
from evonas.workflows.table_executor import TableExecutor


@dataclass(frozen=True)
class TabularBenchmark(BaseComponents):
    """Components of an experiment with a ``table`` of finished trainings."""

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

    @cached_property
    def space(self) -> SearchSpace:
        """The space that the table's columns span, narrowed as the experiment says."""
        return self.table.space.narrowed(self.experiment.space.options)

    @cached_property
    def objective(self) -> Objective:
        """What is minimised; an architecture that is not in the table is over the limit."""
        settings = self.experiment.objective
        if settings.error == "loss":
            raise InputError(
                "objective.error=loss: a table has one error, in its column, and no losses: "
                "take objective.error=metric"
            )
        columns = {"error", "macs", *(["params"] if self.table.tells_params else [])}
        if settings.mode == "soft" and settings.cost == "macs" and not self.table.tells_cost:
            raise InputError(
                "objective.mode=soft: the table has no cost, which would make every fitness 0: "
                "name its column as table.cost, or take objective.mode=one_sided"
            )
        if settings.cost == "latency":
            raise InputError(
                "objective.cost=latency: a table has no latencies, and its networks cannot be "
                "timed: take objective.cost=macs, or search with trainings"
            )
        if settings.cost not in columns:
            raise InputError(
                "objective.cost=params: the table has no 'params': name its column as table.params"
            )
        for axis in settings.axes:
            if axis not in columns:
                raise InputError(
                    f"objective.axes: the table has no {axis!r}"
                    f"{': name its column as table.params' if axis == 'params' else ''}"
                )
        if settings.counts == "total":
            raise InputError(
                "objective.counts=total: a table has no backbone: take objective.counts=head"
            )
        if settings.max_ms is not None:
            raise InputError(
                f"objective.max_ms={settings.max_ms:g}: a table has no latencies, and its networks "
                "cannot be timed: leave the limit out"
            )
        for name in ("max_params", "max_mb"):
            if getattr(settings, name) is not None and not self.table.tells_params:
                raise InputError(
                    f"objective.{name}: the table has no 'params': name its column as table.params"
                )
        limit = min(settings.max_macs or self.table.costliest, self.table.costliest)
        settings = settings.model_copy(update={"max_macs": limit})
        return Objective("error", settings, KnownCosts(settings, self.cost, self.table.weights))

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds of an architecture from the table."""
        return self.table.cost(architecture)

    def device_description(self) -> tuple[str, ...]:
        """Return the number of trainings in the table."""
        return (f"{len(self.table)} trainings in a table",)

    def fingerprints(self) -> dict[str, str]:
        """Return the hash of the table."""
        return {"data": self.table.fingerprint, "backbone": ""}

    def ready(self, progress: Progress) -> Ready:
        """Return the executor, which looks results up; nothing has to be computed."""
        environment = {**surroundings(), **self.fingerprints(), "space": self.space.to_dict()}
        return Ready(lambda: TableExecutor(self.table), environment)
