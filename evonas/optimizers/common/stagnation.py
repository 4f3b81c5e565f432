"""Stagnation: whether a population has found nothing better for some generations."""

from __future__ import annotations


class Stagnation:
    """Count generations since the best fitness of the present population improved.

    Args:
        patience: number of generations without improvement that make a population stagnant.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best, self._generations = float("inf"), 0

    def after(self, lowest: float) -> bool:
        """Return whether the population is stagnant; then the count starts anew.

        Args:
            lowest: lowest fitness of the generation; inf if all failed.
        """
        self._generations = 0 if lowest < self._best else self._generations + 1
        self._best = min(self._best, lowest)
        stagnant = self._generations >= self._patience
        if stagnant:
            self._best, self._generations = float("inf"), 0
        return stagnant
