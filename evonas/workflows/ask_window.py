"""Window of asks: the order of a search in which no worker waits for a generation to end."""

from __future__ import annotations

from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.runs.trial import Trial


class AskWindow:
    """Asks by number, their results, and how many of these the optimizer knows.

    Ask k needs the results up to ask k - ``size`` and no other, so which genomes are asked depends
    neither on the number of workers nor on the order in which trainings end.

    Args:
        size: number of asks that may be without a result at once.

    Attributes:
        asked: a proposal, or a trial of the journal, for each ask.
        told: number of asks whose result the optimizer knows: the first ones.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked: list[Trial] = []
        self.told = 0
        self._results: dict[int, Trial] = {}  # that the optimizer does not know yet

    @property
    def full(self) -> bool:
        """Whether the next ask needs the result of the oldest."""
        return len(self.asked) - self.told >= self.size

    @property
    def waiting(self) -> int:
        """Number of asks without a result."""
        return len(self.asked) - self.told - len(self._results)

    def ended(self, number: int, trial: Trial) -> None:
        """Record the result of an ask."""
        self._results[number] = trial

    def oldest(self) -> tuple[Trial, Trial | None]:
        """Return the oldest ask that the optimizer does not know, and its result."""
        return self.asked[self.told], self._results.get(self.told)

    def tell(self) -> None:
        """Record that the optimizer knows the result of the oldest ask."""
        del self._results[self.told]
        self.told += 1


def check_window(experiment: Experiment, optimizer: Optimizer, workers: int) -> None:
    """Refuse a window of asks that is smaller than the workers, or beside what needs generations.

    Raises:
        InputError: it is one.
    """
    if not (window := optimizer.window):
        return
    if window < workers:
        raise InputError(
            f"optimizer.window={window}: expected at least {workers}, the number of workers, as "
            f"the others would never train: raise it, or take execution.workers={window}"
        )
    needs = {
        f"fidelity={experiment.fidelity.name}": experiment.fidelity.name != "full",
        "inherit=true": experiment.inherit.enabled,
    }
    for word in (word for word, given in needs.items() if given):
        raise InputError(
            f"optimizer.window={window}: expected 0 with {word}, which needs whole generations: "
            "leave one of them out"
        )
