"""Searches that measure latencies: made-up ones, and a cache of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from evonas.estimation.cost import latency_cache as timing
from evonas.estimation.cost.latency import Latency


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Parameters of every network that was measured; 1000 of them take a millisecond."""
    made: list[int] = []

    def stub(module: torch.nn.Module, shape: tuple[int, int, int], device: str) -> Latency:
        made.append(sum(p.numel() for p in module.parameters()))
        return Latency(made[-1] / 1e3, 0.02)

    monkeypatch.setattr(timing, "latency", stub)
    return made


@pytest.fixture
def own_cache(tiny_file: Path, features: object, cache: Path, tmp_path: Path) -> str:
    """The session's features, and no latencies yet."""
    shutil.copytree(cache, tmp_path / "cache", ignore=shutil.ignore_patterns("latency"))
    return f"features.cache={tmp_path / 'cache'}"
