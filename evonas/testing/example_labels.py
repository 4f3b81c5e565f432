"""A data set of 48 images without pictures, with labels of every kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset

POINTS = {
    "left_eye": (0.33, 0.4),
    "right_eye": (0.67, 0.4),
    "nose": (0.5, 0.6),
    "left_mouth": (0.37, 0.78),
    "right_mouth": (0.63, 0.78),
}
EMOTIONS = ("neutral", "happy", "sad", "angry")
#: Images of the set.
COUNT = 48


class ExampleLabels(Dataset):
    """Angles, a quantity, classes and key points of 48 people; every image is black."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        labels = {
            "yaw": rng.uniform(-85, 85, COUNT),
            "pitch": rng.normal(5, 15, COUNT),
            "roll": rng.normal(0, 10, COUNT),
            "age": rng.uniform(18, 80, COUNT),
            "emotion": rng.choice(len(EMOTIONS), COUNT, p=[0.4, 0.3, 0.2, 0.1]),
        }
        for name, (x, y) in POINTS.items():
            labels[f"{name}.x"] = x + rng.normal(0, 0.06, COUNT)
            labels[f"{name}.y"] = y + rng.normal(0, 0.06, COUNT)
            labels[f"{name}.v"] = rng.choice(3, COUNT, p=[0.1, 0.2, 0.7])
        labels |= {
            "box.left": rng.uniform(0, 100, COUNT),
            "box.top": rng.uniform(0, 100, COUNT),
            "box.side": rng.uniform(50, 150, COUNT),
            "area": rng.uniform(50, 150, COUNT) ** 2,
            "image": np.arange(COUNT) // 2,
        }
        self.labels = {name: values.astype(np.float32) for name, values in labels.items()}
        self.classes = {"emotion": EMOTIONS}
        self.groups = np.array([f"person {i}" for i in range(COUNT)])
        self.splits = {"train": np.arange(32), "validation": np.arange(32, COUNT)}
        self.fingerprint = "faces"
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return a black image."""
        return np.zeros((32, 32, 3), np.uint8)
