"""The feature cache: one pass a view, then none; exact; nothing damaged is ever used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.errors import InputError, UnreadableImage
from evonas.estimation.features import feature_cache as features
from evonas.estimation.features.feature_cache import FeatureCache
from evonas.estimation.features.views import View, standard_views
from evonas.models.backbones.synthetic_face import SyntheticFace

TAPS = ("block3", "block4")


class Pictures(Dataset):
    """Smooth pictures of which some cannot be decoded; counts how often one is read."""

    def __init__(self, count: int = 70, broken: tuple[int, ...] = ()) -> None:
        rng = np.random.default_rng(0)
        self._pictures = rng.integers(0, 255, (count, 64, 64, 3)).astype(np.uint8)
        self.labels = {"yaw": np.zeros(count, np.float32)}
        self.groups = np.array([str(i) for i in range(count)])
        self.splits = {"train": np.arange(count - 1), "validation": np.array([count - 1])}
        self.fingerprint = f"pictures {count} {broken}"
        self.broken = broken
        self.reads = 0

    def image(self, index: int) -> NDArray[np.uint8]:
        self.reads += 1
        if index in self.broken:
            raise UnreadableImage(f"picture{index}.jpg: cannot be decoded (truncated)")
        return self._pictures[index]


class Counting(SyntheticFace):
    """Counts the images that pass."""

    passed = 0

    def forward(self, images: torch.Tensor, taps: object) -> dict[str, torch.Tensor]:
        self.passed += len(images)
        return super().forward(images, taps)


@pytest.fixture
def backbone() -> Counting:
    return Counting()


def exact(backbone: SyntheticFace, images: NDArray[np.uint8], tap: str) -> NDArray[np.float16]:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return backbone(batch, [tap])[tap].half().numpy()


def test_images_that_find_no_room_are_decoded_for_every_view(
    tmp_path: Path, backbone: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, views = Pictures(), standard_views(1)
    plenty = FeatureCache(tmp_path / "plenty").ensure(backbone, data, TAPS, views)
    data.reads = 0
    monkeypatch.setattr(features, "_IMAGE_BYTES", 30 * 64 * 64 * 3 + 1)
    few = FeatureCache(tmp_path / "few").ensure(backbone, data, TAPS, views)
    assert data.reads == 30 + 4 * 40
    for one, other in zip(plenty.files["block3"], few.files["block3"], strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_one_pass_a_view_then_none(tmp_path: Path, backbone: Counting) -> None:
    data, cache, said = Pictures(), FeatureCache(tmp_path), []
    views = standard_views(1)
    first = cache.ensure(backbone, data, TAPS, views, lambda *progress: said.append(progress))
    assert (first.passes, backbone.passed, data.reads) == (280, 280, 70)
    assert said[:2] == [("features of view plain", 64, 70), ("features of view plain", 70, 70)]
    assert len(said) == 8
    backbone.passed = 0
    again = FeatureCache(tmp_path).ensure(backbone, data, TAPS, views)
    assert (again.passes, backbone.passed, data.reads) == (0, 0, 70)
    assert again.files == first.files
    np.testing.assert_array_equal(again.usable, np.arange(70))
    wider = cache.ensure(backbone, data, TAPS, standard_views(2))
    assert wider.passes == 140  # only the two new views
    another = cache.ensure(backbone, data, ("block2", *TAPS), views[:1])
    assert another.passes == 70
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "a draft was left behind"


def test_values_are_the_backbones_in_16_bits(tmp_path: Path, backbone: Counting) -> None:
    data = Pictures()
    found = FeatureCache(tmp_path).ensure(backbone, data, TAPS, (View(), View(0, True), View(1)))
    jittered = np.stack([View(1).apply(data.image(i), i, 64, 0.0) for i in range(70)])
    for tap in TAPS:
        plain, flipped, jitter = found.open(tap)
        assert plain.shape == (70, *backbone.taps[tap])
        assert plain.dtype == np.float16
        pictures = data._pictures
        for maps, images in (
            (plain, pictures),
            (flipped, pictures[:, :, ::-1].copy()),
            (jitter, jittered),
        ):
            # As in the cache: batches of 64, since the batch size may change the last bit.
            both = [exact(backbone, images[:64], tap), exact(backbone, images[64:], tap)]
            np.testing.assert_array_equal(maps, np.concatenate(both))
        assert (plain != flipped).mean() > 0.2


def test_files_are_shared_by_equal_weights_and_data_only(tmp_path: Path) -> None:
    cache, views = FeatureCache(tmp_path), (View(),)

    def files(backbone: SyntheticFace, data: Dataset) -> set[Path]:
        found = cache.ensure(backbone, data, TAPS, views)
        return {path for paths in found.files.values() for path in paths}

    first = files(SyntheticFace(), Pictures(8))
    assert files(SyntheticFace(), Pictures(8)) == first
    assert not files(SyntheticFace(random=1), Pictures(8)) & first
    assert not files(SyntheticFace(), Pictures(9)) & first
    assert len(list(tmp_path.glob("*.npy"))) == 6


@pytest.mark.parametrize("what", ["byte", "header", "shorter", "longer", "no sidecar", "sidecar"])
def test_a_damaged_file_is_noticed_and_made_anew(
    tmp_path: Path, backbone: Counting, what: str
) -> None:
    data, cache = Pictures(8), FeatureCache(tmp_path)
    found = cache.ensure(backbone, data, TAPS, (View(), View(0, True)))
    path = found.files["block4"][1]
    good = path.read_bytes()
    bad = bytearray(good)
    if what in ("byte", "header"):
        bad[-1 if what == "byte" else 10] ^= 1
    elif what == "shorter":
        del bad[-1]
    elif what == "longer":
        bad.append(0)
    path.write_bytes(bytes(bad))
    if what == "no sidecar":
        path.with_suffix(".json").unlink()
    elif what == "sidecar":
        path.with_suffix(".json").write_text('{"crc32": 1')
    backbone.passed = 0
    again = cache.ensure(backbone, data, TAPS, (View(), View(0, True)))
    assert again.files == found.files
    assert backbone.passed == again.passes == 8  # the one view alone
    assert path.read_bytes() == good


def test_undecodable_images_are_refused_with_their_number_and_the_first_name(
    tmp_path: Path, backbone: Counting
) -> None:
    data = Pictures(12, broken=(5, 3, 11))
    for _ in range(2):  # the second time from the cache
        with pytest.raises(InputError) as caught:
            FeatureCache(tmp_path).ensure(backbone, data, TAPS, standard_views(0))
        said = str(caught.value)
        assert said.startswith("data: 3 of 12 images cannot be decoded, the first: picture3.jpg")
        assert "features.strict=false" in said
        assert "\n" not in said


def test_undecodable_images_are_left_out_where_that_is_wanted(
    tmp_path: Path, backbone: Counting
) -> None:
    data = Pictures(12, broken=(5, 3, 11))
    cache = FeatureCache(tmp_path, strict=False)
    for passes in (24, 0):
        found = cache.ensure(backbone, data, TAPS, standard_views(0))
        assert found.passes == passes
        assert found.usable.tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10]
    whole = Pictures(12)
    kept = cache.ensure(backbone, whole, TAPS, (View(),)).open("block4")[0][found.usable]
    np.testing.assert_array_equal(found.open("block4")[0][found.usable], kept)


def test_values_beyond_16_bits_are_refused(tmp_path: Path, backbone: Counting) -> None:
    with torch.no_grad():
        next(backbone.parameters()).mul_(1e9)
    with pytest.raises(InputError, match="beyond 16-bit floats"):
        FeatureCache(tmp_path).ensure(backbone, Pictures(4), ("block1",), (View(),))
    assert list(tmp_path.glob("*.npy")) == []


def test_a_pass_that_is_killed_leaves_nothing_that_counts(
    tmp_path: Path, backbone: Counting
) -> None:
    def stop(*progress: object) -> None:
        raise KeyboardInterrupt

    cache = FeatureCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.ensure(backbone, Pictures(8), TAPS, (View(),), stop)
    assert cache.ensure(backbone, Pictures(8), TAPS, (View(),)).passes == 8


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, backbone: Counting) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"feature cache .*file/cache: .*features\.cache"):
        FeatureCache(tmp_path / "file" / "cache").ensure(backbone, Pictures(4), TAPS, (View(),))


def test_a_disk_that_is_too_small_is_told_before_any_image_is_read(
    tmp_path: Path, backbone: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, views = Pictures(), standard_views(0)
    usage = shutil.disk_usage(tmp_path)
    cache = FeatureCache(tmp_path / "not" / "yet")
    needed = 70 * 2 * 2 * sum(int(np.prod(backbone.taps[tap])) for tap in TAPS)

    def free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=count))

    free(needed - 1)
    with pytest.raises(
        InputError, match=r"not/yet: needs [\d.e-]+ GB, .* are free: .*cache=FOLDER"
    ):
        cache.ensure(backbone, data, TAPS, views)
    assert (data.reads, (tmp_path / "not").exists()) == (0, False)
    free(needed)
    assert cache.ensure(backbone, data, TAPS, views).passes == 140
    free(0)  # what is there needs no space
    assert cache.ensure(backbone, data, TAPS, views).passes == 0


def test_the_sidecar_is_plain_json(tmp_path: Path, backbone: Counting) -> None:
    found = FeatureCache(tmp_path).ensure(backbone, Pictures(4), ("block4",), (View(),))
    note = json.loads(found.files["block4"][0].with_suffix(".json").read_text())
    assert set(note) == {"crc32", "bytes", "unreadable", "origin"}
    assert set(note["origin"]) == {"backbone", "data", "tap", "view"}
    assert (note["origin"]["tap"], note["origin"]["view"]) == ("block4", "plain")
