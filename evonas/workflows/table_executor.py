"""Executor that looks results up in a table of finished trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.workflows.result_table import Table


class TableExecutor(Executor):
    """Looks up the results of jobs in a table; it has no training context.

    Args:
        table: the finished trainings.
    """

    def __init__(self, table: Table) -> None:
        self._table, self.workers, self.name = table, 1, "table"
        self.usage = Usage(1)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield the measurements in order; see ``Executor.evaluate``."""
        for job in jobs:
            yield job.index, self._table.measure(job.architecture)
