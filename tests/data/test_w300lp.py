"""300W-LP: files in the distributed layout, groups of photos, and the three splits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_files import write_pair, write_w300lp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from refusals import refusal_of

from evonas.core import experiment as config
from evonas.core.registry import create, load
from evonas.data.readers.splits import by_group
from evonas.data.w300lp import W300LP, leak, source_photo
from evonas.errors import InputError, UnreadableImage
from evonas.workflows.components import Components

ANGLES = ("yaw", "pitch", "roll")


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was read once is remembered in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 photos in 3 poses with mirror images, AFW and HELEN: 48 images."""
    folder = tmp_path_factory.mktemp("w300lp")
    write_w300lp(folder, photos=8, poses=3)
    (folder / "landmarks" / "AFW").mkdir(parents=True)
    (folder / "Code").mkdir()
    (folder / "landmarks" / "AFW" / "AFW_1000_1_0_pts.mat").write_bytes(b"other landmarks")
    (folder / "landmarks" / "AFW" / "other.jpg").write_bytes(b"no face")
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> W300LP:
    return W300LP(str(root))


def test_all_images_of_all_subsets_are_read_in_order(data: W300LP) -> None:
    names = [data.describe(i) for i in range(len(data))]
    assert len(names) == 48
    assert names == sorted(names)
    assert names[0] == "AFW/AFW_1000_1_0.jpg"
    assert {name.partition("/")[0] for name in names} == {
        *("AFW", "AFW_Flip", "HELEN", "HELEN_Flip")
    }
    assert load("data", "w300lp") is W300LP


def test_labels_are_those_of_the_rendered_heads(data: W300LP, tmp_path: Path) -> None:
    faces = write_w300lp(tmp_path, photos=8, poses=3)  # the same, bit for bit
    for index in range(24):
        photo, rendering = divmod(index, 3)
        subset = ("AFW", "HELEN")[photo % 2]
        name = f"{subset}_{1000 + photo}_1_{rendering}.jpg"
        plain, mirrored = row(data, f"{subset}/{name}"), row(data, f"{subset}_Flip/{name}")
        for key, sign in zip(ANGLES, (-1, 1, -1), strict=True):
            head = float(faces.labels[key][index])
            assert data.labels[key][plain] == pytest.approx(head, abs=1e-4)
            assert data.labels[key][mirrored] == pytest.approx(sign * head, abs=1e-4)
    assert W300LP(str(tmp_path)).fingerprint == data.fingerprint


def row(data: W300LP, name: str) -> int:
    return [data.describe(i) for i in range(len(data))].index(name)


def test_a_mirror_image_belongs_to_its_photo(data: W300LP) -> None:
    for i in range(len(data)):
        subset, _, name = data.describe(i).partition("/")
        other = f"{subset.removesuffix('_Flip')}{'' if subset.endswith('_Flip') else '_Flip'}"
        assert data.groups[i] == data.groups[row(data, f"{other}/{name}")]
    names, counts = np.unique(data.groups, return_counts=True)
    assert len(names) == 8
    assert set(counts.tolist()) == {6}


def test_real_file_names_give_the_photo() -> None:
    assert source_photo("AFW", "AFW_134212_1_0") == "AFW/AFW_134212_1"
    assert source_photo("AFW_Flip", "AFW_134212_1_17") == "AFW/AFW_134212_1"
    assert source_photo("HELEN_Flip", "HELEN_100032540_1_3") == "HELEN/HELEN_100032540_1"
    assert source_photo("LFPW", "LFPW_image_test_0001_2") == "LFPW/LFPW_image_test_0001"
    assert source_photo("IBUG", "photo") == "IBUG/photo"


names = st.lists(
    st.tuples(
        st.sampled_from(("AFW", "AFW_Flip", "HELEN", "HELEN_Flip", "IBUG", "LFPW_Flip")),
        st.integers(0, 9),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=60,
    unique=True,
)


@given(names, st.integers(0, 5))
def test_no_photo_is_on_two_sides(files: list[tuple[str, int, int]], seed: int) -> None:
    """Whatever files are there: renderings and mirror images of a photo stay together."""
    photos = [source_photo(subset, f"x_{photo}_1_{index}") for subset, photo, index in files]
    assert len(set(photos)) == len({(s.removesuffix("_Flip"), photo) for s, photo, _ in files})
    groups = np.array(photos)
    if len(set(photos)) < 2:
        with pytest.raises(InputError, match="expected at least 2 groups"):
            by_group(groups, {"train": 0.7, "validation": 0.3}, seed)
        return
    splits = by_group(groups, {"train": 0.7, "validation": 0.3}, seed)
    assert leak(groups, splits) == ""
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(files)))


def test_seventy_percent_train_by_photo(data: W300LP) -> None:
    sides = [set(data.groups[data.splits[side]].tolist()) for side in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] in ([6, 2], [5, 3])
    assert data.leaky == ""
    assert data.protocol == (
        "300W-LP (AFW, AFW_Flip, HELEN, HELEN_Flip), 48 of 48 images, 70/30 by source photo, "
        "HopeNet crop (k = 0.3), |angle| <= 99 degrees"
    )


def test_the_share_that_validates_may_be_another_and_photos_stay_whole(
    root: Path, data: W300LP
) -> None:
    given = W300LP(str(root), validation=0.3)
    assert given.splits["train"].tolist() == data.splits["train"].tolist()
    assert given.protocol == data.protocol
    tenth = W300LP(str(root), validation=0.1)
    assert "90/10 by source photo" in tenth.protocol
    assert tenth.leaky == ""
    photos = len(set(data.groups.tolist()))
    validating = set(tenth.groups[tenth.splits["validation"]].tolist())
    assert len(validating) == max(round(0.1 * photos), 1)
    assert sum(len(side) for side in tenth.splits.values()) == len(data)
    for share, split in ((0.0, "by_photo"), (1.0, "by_photo"), (0.3, "leaky_90_10")):
        with pytest.raises(InputError, match=r"data\.validation: expected a share") as caught:
            W300LP(str(root), split=split, validation=share)
        assert f"got {share} with split={split}" in str(caught.value)


def test_the_experiment_of_the_study_deals_nine_to_one(root: Path) -> None:
    experiment = config.load("hopenet", [f"data.root={root}", "data.subsets=[]"])
    assert "90/10 by source photo" in Components(experiment).dataset.protocol
    exact = config.changed(experiment, ["data.split=leaky_90_10"])
    dataset = Components(exact).dataset
    assert [len(dataset.splits[side]) for side in ("train", "validation")] == [43, 5]
    assert "split at random" in dataset.leaky


def test_another_seed_deals_other_photos(root: Path, data: W300LP) -> None:
    held_out = {
        tuple(W300LP(str(root), seed=seed).splits["validation"].tolist()) for seed in range(5)
    }
    assert len(held_out) > 1
    assert W300LP(str(root), seed=3).fingerprint == data.fingerprint  # features are shared


def test_the_leaky_split_says_so(root: Path) -> None:
    data = W300LP(str(root), split="leaky_90_10")
    assert [len(data.splits[side]) for side in ("train", "validation")] == [43, 5]
    assert "single images were split at random" in data.leaky
    assert "photos that validate also train" in data.leaky
    assert "90/10 of single images at random" in data.protocol


def test_the_unshuffled_split_says_where_it_leaks(root: Path) -> None:
    every = W300LP(str(root), split="author_70_30")
    assert every.splits["train"].tolist() == list(range(33))
    assert every.splits["validation"].tolist() == list(range(33, 48))
    # HELEN is images 24 to 35: three of its photos train, the fourth and all mirrored validate.
    assert every.leaky == "3 of 4 photos that validate also train"
    mirrored = W300LP(str(root), subsets=("AFW_Flip", "AFW"), split="author_70_30")
    assert mirrored.leaky == "3 of 3 photos that validate also train"
    apart = W300LP(str(root), subsets=("AFW", "HELEN"), split="author_70_30")
    assert apart.leaky == "1 of 3 photos that validate also train"


def test_the_unshuffled_split_may_be_clean(tmp_path: Path) -> None:
    write_w300lp(tmp_path, photos=10, poses=1, flips=False)
    data = W300LP(str(tmp_path), split="author_70_30")
    assert data.leaky == ""
    assert len(data.splits["validation"]) == 3


def test_the_crop_is_hopenets(data: W300LP, tmp_path: Path) -> None:
    """k = 0.3, box 100 x 100: left 82, top 140, right 221, bottom 328 (see test_aflw2000)."""
    points = {"pt2d": np.array([[100.0, 200.0], [200.0, 300.0]])}
    photo = np.random.default_rng(0).integers(0, 256, (450, 450, 3)).astype(np.uint8)
    for name in "ab":
        write_pair(tmp_path / "AFW" / f"{name}_0", photo, np.zeros(3), points)
    small = W300LP(str(tmp_path), size=200)
    assert small._standard_crop(0, 450, 450) == (82.0, 164.5, 221.0, 303.5)
    assert W300LP(str(tmp_path), crop="fsanet")._standard_crop(0, 450, 450) == (60, 160, 240, 340)
    stored = Image.open(tmp_path / "AFW" / "a_0.jpg")
    standard = stored.resize((140, 140), 3, box=(82.0, 164.5, 221.0, 303.5))
    assert np.abs(np.asarray(standard).astype(int) - small.image(0)[30:170, 30:170]).mean() < 8
    mirror = ImageOps.mirror(Image.fromarray(data.image(row(data, "AFW/AFW_1000_1_0.jpg"))))
    flipped = data.image(row(data, "AFW_Flip/AFW_1000_1_0.jpg"))
    assert np.abs(np.asarray(mirror).astype(int) - flipped).mean() < 12


def test_a_landmark_beside_the_photo_counts_for_hopenet(tmp_path: Path) -> None:
    points = {"pt2d": np.array([[-20.0, 50.0, 200.0], [100.0, 150.0, 300.0]])}
    for name in "ab":
        photo = np.zeros((450, 450, 3), np.uint8)
        write_pair(tmp_path / "AFW" / f"{name}_0", photo, np.zeros(3), points)
    assert W300LP(str(tmp_path))._boxes[0].tolist() == [-20, 100, 200, 300]
    assert W300LP(str(tmp_path), crop="fsanet")._boxes[0].tolist() == [50, 150, 200, 300]


def test_images_beyond_the_rule_are_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "AFW", tmp_path / "AFW")
    points = {"pt2d": np.array([[100.0, 200.0], [200.0, 300.0]])}
    photo = np.zeros((450, 450, 3), np.uint8)
    write_pair(tmp_path / "AFW" / "AFW_2_1_0", photo, np.array([-99.5, 0.0, 0.0]), points)
    data = W300LP(str(tmp_path))
    assert data.dropped == {"an angle beyond 99 degrees": ("AFW/AFW_2_1_0.jpg",)}
    assert len(data) == 12


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: W300LP(str(root), **options))


def test_folders_that_are_not_there_are_named(root: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: expected the folders AFW")
    assert "no such folder" in refusal(root, subsets=("LFPW",))
    assert "did you mean 'AFW'?" in refusal(root, subsets=("AFV",))
    (tmp_path / "AFW").mkdir()
    assert "none is left" in refusal(tmp_path, split="author_70_30")


def test_unknown_options_are_answered_with_the_known_ones(root: Path) -> None:
    assert "did you mean 'fsanet'?" in refusal(root, crop="fsa-net")
    assert "known: author_70_30, by_photo, leaky_90_10" in refusal(root, split="x")
    with pytest.raises(InputError, match=r"data\.split: input should be"):
        create("data", "w300lp", {"root": str(root), "split": "random"})


def test_files_that_are_missing_or_damaged_are_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "AFW", tmp_path / "AFW")
    photo, mat = (tmp_path / "AFW" / f"AFW_1002_1_1.{end}" for end in ("jpg", "mat"))
    whole = photo.read_bytes()
    photo.write_bytes(whole[:500])
    data = W300LP(str(tmp_path))
    with pytest.raises(UnreadableImage, match=r"AFW_1002_1_1\.jpg: cannot be decoded"):
        data.image(row(data, "AFW/AFW_1002_1_1.jpg"))
    photo.write_bytes(whole)
    assert W300LP(str(tmp_path)).fingerprint != data.fingerprint
    mat.write_bytes(mat.read_bytes()[:200])
    assert refusal(tmp_path).startswith(f"{mat}: ")
    write_pair(mat.with_suffix(""), np.zeros((450, 450, 3), np.uint8), np.zeros(3), {})
    assert refusal(tmp_path).startswith(f"{mat}: expected landmarks pt2d")
    mat.unlink()
    assert refusal(tmp_path).startswith(f"{mat}: expected a .mat file")
