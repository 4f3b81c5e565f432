"""Limit on the distinct trainings of a search: the budget, or what a clock leaves of it."""

from __future__ import annotations


class TrainingLimit:
    """Counter of distinct trainings with a limit that can be lowered and raised again.

    Attributes:
        budget: number of distinct architectures that may be trained.
        trained: number of distinct feasible architectures asked so far.
    """

    budget: int
    trained: int
    _most: int  # of ``trained``

    def limit(self, further: int | None) -> None:
        """Limit the number of new architectures of the asks to come, as a smaller budget would.

        Args:
            further: their number, at least 0; None: what the budget has.
        """
        left = self.budget - self.trained
        self._most = self.trained + (left if further is None else min(left, further))

    @property
    def limit_reached(self) -> bool:
        """Whether the budget is spent, or what ``limit`` left of it."""
        return self.trained >= self._most
