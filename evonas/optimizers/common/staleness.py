"""Staleness: whether a strategy only repeats itself, and what is done about it."""

from __future__ import annotations

from typing import Literal

#: A strategy restarts when its stale generations add up to PATIENCE: one with repeats alone counts
#: 3, one with new but infeasible architectures 1, since it may be returning to feasibility.
REPEATS, INFEASIBLE, PATIENCE = 3, 1, 9
#: Consecutive restarts without a new architecture after which the rest is drawn at random.
FRUITLESS_RESTARTS = 3


class Staleness:
    """Count generations without a new feasible architecture, and restarts without one.

    Attributes:
        at_random: whether restarts have been fruitless: the rest is drawn at random.
        fruitless: consecutive restarts without a new feasible architecture.
    """

    def __init__(self) -> None:
        self.at_random = False
        self.fruitless = 0
        self._stale = 0

    def next(self) -> Literal["ask", "restart", "draw"]:
        """Return what comes next: an ask, a restart before it, or random draws from now on."""
        if not self.at_random and self._stale >= PATIENCE:
            if self.fruitless == FRUITLESS_RESTARTS:
                self.at_random = True
            else:
                self.fruitless += 1
                self._stale = 0
                return "restart"
        return "draw" if self.at_random else "ask"

    def asked_nothing(self) -> None:
        """Record an ask without a genome."""
        self._stale = PATIENCE

    def asked(self, feasible: bool, new: bool) -> None:
        """Record a generation.

        Args:
            feasible: whether it had a new feasible architecture.
            new: whether it had a new one at all.
        """
        if feasible:
            self._stale = self.fruitless = 0
        else:
            self._stale += INFEASIBLE if new else REPEATS
