"""Limit on the trainings of a search: the budget, or what a clock leaves of it."""

from __future__ import annotations

from evonas.optimizers.common.learning_curves import LearningCurves


class TrainingLimit:
    """Counter of trainings with a limit that can be lowered and raised again.

    Attributes:
        budget: number of distinct architectures that may be trained; if trainings pause, of whole
            trainings that their epochs may amount to.
        trained: the same number, of what was asked so far.
    """

    budget: int
    trained: int
    curves: LearningCurves
    _most: int  # of ``trained``
    _epochs: int  # asked so far, if trainings pause

    def begin_count(self, budget: int) -> None:
        """Set the counter to 0, with the budget as its limit."""
        self.budget, self.trained, self._epochs = budget, 0, 0
        self.limit(None)

    def count(self, digest: str) -> None:
        """Count the training of a feasible architecture, or its next step."""
        if self.curves.steps:
            self._epochs += self.curves.until(digest) - self.curves.epochs(digest)
            self.trained = self._epochs // self.curves.steps[-1]
        else:
            self.trained += 1

    def limit(self, further: int | None) -> None:
        """Limit the trainings of the asks to come, as a smaller budget would.

        Args:
            further: their number, at least 0; None: what the budget has.
        """
        left = self.budget - self.trained
        self._most = self.trained + (left if further is None else min(left, further))

    @property
    def limit_reached(self) -> bool:
        """Whether the budget is spent, or what ``limit`` left of it."""
        return self.trained >= self._most
