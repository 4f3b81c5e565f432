"""Metrics of a search, exported through Ray to Prometheus; see docs/MONITORING.md.

Ray puts ``ray_`` before each name, and adds the tags of the node.
"""

from __future__ import annotations

import threading

from ray.util.metrics import Counter, Gauge, Histogram

_SECONDS = [0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600]
_RUN = ("run",)
_BEAT = 1.0  # seconds: Ray forgets a gauge that is not set for two of its reports


class Metrics:
    """Metrics of one search, with the tag ``run``.

    Args:
        run: value of the tag, different for each search of a cluster.
    """

    def __init__(self, run: str) -> None:
        self._trained = 0
        self._trials = Counter("evonas_trials_total", "Finished trials", ("run", "status"))
        self._best = Gauge("evonas_best_fitness", "Lowest fitness so far", _RUN)
        self._seconds = Histogram("evonas_trial_seconds", "Wall time of a trial", _SECONDS, _RUN)
        self._count = Gauge(
            "evonas_trained", "Distinct networks trained, before a resume too", _RUN
        )
        self._budget = Gauge("evonas_budget", "Distinct networks to train", _RUN)
        self._workers = Gauge("evonas_workers", "Workers that are alive", _RUN)
        self._busy = Gauge("evonas_workers_busy", "Workers that train", _RUN)
        everything = (self._trials, self._best, self._seconds, self._count, self._budget)
        for metric in (*everything, self._workers, self._busy):
            metric.set_default_tags({"run": run})
        self._gauges: dict[Gauge, float] = {}
        self._over = threading.Event()

    def start(self) -> None:
        """Export all gauges every second until ``close``, also during a long training."""
        threading.Thread(target=self._keep, name="evonas metrics", daemon=True).start()

    def close(self) -> None:
        """Stop exporting gauges."""
        self._over.set()

    def beat(self) -> None:
        """Export all gauges once more."""
        for gauge, value in list(self._gauges.items()):
            gauge.set(value)

    def _keep(self) -> None:
        while not self._over.wait(_BEAT):
            self.beat()

    def _set(self, gauge: Gauge, value: float) -> None:
        self._gauges[gauge] = value
        gauge.set(value)

    def expect(self, trained: int, budget: int) -> None:
        """Export the budget and the number of networks trained before this start."""
        self._trained = trained
        self._set(self._count, trained)
        self._set(self._budget, budget)

    def trial(self, status: str, seconds: float, best: float) -> None:
        """Export a trial; see ``Executor.observe``."""
        self._trials.inc(1, tags={"status": status})
        self._seconds.observe(seconds)
        self._trained += 1
        self._set(self._count, self._trained)
        if best < float("inf"):
            self._set(self._best, best)

    def workers(self, alive: int, busy: int) -> None:
        """Export the numbers of workers alive and busy."""
        self._set(self._workers, alive)
        self._set(self._busy, busy)
