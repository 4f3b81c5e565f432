"""COCO's average precision of key points: equal to the reference's, and by hand."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.tasks.common.object_keypoint_similarity import (
    COCO_SIGMAS,
    Detection,
    Truth,
    evaluate,
    similarity,
)

SIGMAS = tuple(COCO_SIGMAS.values())
K = len(SIGMAS)
NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
FILE = Path(__file__).parents[4] / "shared/data/coco_samples/coco/test_coco.json"

Annotation = dict[str, Any]


@pytest.fixture(scope="module")
def annotated() -> Annotation:
    if not FILE.is_file():
        pytest.skip(f"the real annotations {FILE} are not there")
    loaded: Annotation = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


def truths(data: Annotation) -> list[Truth]:
    return [
        Truth(
            image=a["image_id"],
            points=np.array(a["keypoints"], np.float64).reshape(-1, 3),
            area=a["area"],
            box=tuple(a["bbox"]),
            crowd=bool(a["iscrowd"]),
            labelled=a["num_keypoints"],
        )
        for a in data["annotations"]
    ]


def detections(results: list[Annotation]) -> list[Detection]:
    return [
        Detection(r["image_id"], np.array(r["keypoints"]).reshape(-1, 3), r["score"])
        for r in results
    ]


def reference(data: Annotation, results: list[Annotation]) -> list[float]:
    """Return the ten numbers of the reference implementation."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = copy.deepcopy(data)
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(results))
        judge = cocoeval.COCOeval(truth, found, "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]


def agree(data: Annotation, results: list[Annotation]) -> dict[str, float]:
    ours = evaluate(truths(data), detections(results), SIGMAS)
    assert set(ours) == set(NAMES)
    np.testing.assert_allclose(
        [ours[name] for name in NAMES], reference(data, results), rtol=0, atol=1e-9
    )
    return ours


def result(image: int, points: NDArray[np.float64], score: float) -> Annotation:
    row = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": row.ravel().tolist(),
        "score": float(score),
    }


def perturbed(data: Annotation, rng: np.random.Generator) -> list[Annotation]:
    """Detections of most annotations, with noise, doubles, strangers and equal scores."""
    found = []
    for a in data["annotations"]:
        points = np.array(a["keypoints"], np.float64).reshape(-1, 3)[:, :2]
        if not np.any(points):
            left, top, width, height = a["bbox"]
            points = rng.uniform(0, 1, points.shape) * [width, height] + [left, top]
        for _ in range(rng.choice(4, p=[0.15, 0.5, 0.25, 0.1])):
            noise = rng.choice([0.0, 0.02, 0.05, 0.1, 0.3]) * np.sqrt(a["area"])
            moved = points + rng.normal(0, noise + 1e-9, points.shape)
            found.append(result(a["image_id"], moved, rng.choice([rng.random(), 0.25, 0.5])))
    for image in data["images"]:
        for _ in range(rng.integers(0, 12)):
            size = rng.choice([5.0, 60.0, 300.0])
            stranger = rng.uniform(0, size, (K, 2)) + rng.uniform(0, 300, 2)
            found.append(result(image["id"], stranger, rng.random()))
    return [found[i] for i in rng.permutation(len(found))]


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_the_reference_on_real_annotations(annotated: Annotation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = copy.deepcopy(annotated)
    for a in data["annotations"]:
        if seed % 2 and rng.random() < 0.3:
            a["iscrowd"] = 1
        if seed % 3 == 0 and rng.random() < 0.3:
            a["keypoints"], a["num_keypoints"] = [0] * (3 * K), 0
    agree(data, perturbed(data, rng))


def test_the_annotations_themselves_are_found_completely(annotated: Annotation) -> None:
    results = [
        result(a["image_id"], np.array(a["keypoints"], float).reshape(-1, 3)[:, :2], 1.0)
        for a in annotated["annotations"]
        if a["num_keypoints"]
    ]
    found = agree(annotated, results)
    assert found["AP"] == pytest.approx(1.0)
    assert found["AR"] == 1.0


def synthetic(rng: np.random.Generator) -> Annotation:
    """Images with no, few or many instances; crowds; some without points; some tiny."""
    images = [{"id": int(i)} for i in rng.choice(50, rng.integers(1, 7), replace=False)]
    annotations = []
    for image in images:
        for _ in range(rng.choice([0, 1, 2, 6])):
            side = rng.choice([12.0, 50.0, 80.0, 150.0, 400.0])
            corner = rng.uniform(0, 200, 2)
            points = np.zeros((K, 3))
            if rng.random() < 0.8:
                points[:, :2] = corner + rng.uniform(0, side, (K, 2))
                points[:, 2] = rng.choice(3, K)
                points[points[:, 2] == 0] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                    "area": float(side**2 * rng.uniform(0.3, 1)),
                    "bbox": [*corner.tolist(), side, side],
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
    people = {"id": 1, "name": "person", "keypoints": list(COCO_SIGMAS)}
    return {"images": images, "annotations": annotations, "categories": [people]}


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1))
def test_equal_to_the_reference_on_any_set(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = synthetic(rng)
    results = perturbed(data, rng)
    if results:
        agree(data, results)


def test_no_more_than_twenty_detections_of_a_photo_are_looked_at() -> None:
    rng = np.random.default_rng(5)
    data = synthetic(rng)
    while not any(a["num_keypoints"] and not a["iscrowd"] for a in data["annotations"]):
        data = synthetic(rng)
    image = data["annotations"][0]["image_id"]
    many = [result(image, rng.uniform(0, 300, (K, 2)), 0.9) for _ in range(25)]
    agree(data, many + perturbed(data, rng))


def person(image: int = 1, area: float = 10_000.0, **changes: Any) -> Truth:
    points = np.stack([np.arange(K) * 10.0, np.arange(K) * 5.0, np.full(K, 2.0)], axis=1)
    return Truth(image, points, area, (0.0, 0.0, 160.0, 80.0), **changes)


def test_the_similarity_by_hand() -> None:
    """One point that is off by 2 sigma sqrt(area) has exp(-1/2), the others 1."""
    truth = person()
    points = truth.points[None, :, :2].copy()
    points[0, 0, 0] += 2 * SIGMAS[0] * 100.0
    found = similarity(points, truth, np.array(SIGMAS))
    assert found.tolist() == pytest.approx([(K - 1 + np.exp(-0.5)) / K])


def test_a_point_without_label_does_not_count() -> None:
    truth = person()
    truth.points[3, 2] = 0
    points = truth.points[None, :, :2].copy()
    points[0, 3] += 1000
    assert similarity(points, truth, np.array(SIGMAS)).tolist() == [1.0]


def test_one_right_before_one_wrong_and_one_missed() -> None:
    """Two truths, found one: recall 1/2; precision 1 up to recall .5, 51 of 101 places."""
    truth, missed = person(1), person(2)
    away = truth.points + np.array([5000.0, 0.0, 0.0])
    found = evaluate(
        [truth, missed],
        [Detection(1, truth.points, 0.9), Detection(1, away, 0.8)],
        SIGMAS,
    )
    assert found["AP"] == pytest.approx(51 / 101)
    assert found["AR"] == 0.5
    first_wrong = evaluate(
        [truth, missed],
        [Detection(1, truth.points, 0.8), Detection(1, away, 0.9)],
        SIGMAS,
    )
    assert first_wrong["AP"] == pytest.approx(0.5 * 51 / 101)


def test_what_finds_a_crowd_counts_neither_way() -> None:
    truth, crowd = person(1), person(2, crowd=True)
    found = [Detection(1, truth.points, 0.5)] + [Detection(2, crowd.points, 0.9)] * 3
    assert evaluate([truth, crowd], found, SIGMAS)["AP"] == pytest.approx(1.0)


def test_areas_without_a_truth_are_minus_one() -> None:
    found = evaluate([person(area=5000.0)], [], SIGMAS)
    assert found["APl"] == found["ARl"] == -1.0
    assert found["APm"] == found["AP"] == found["AR"] == 0.0
    assert set(evaluate([], [], SIGMAS).values()) == {-1.0}


def test_every_instance_needs_all_points() -> None:
    with pytest.raises(InputError, match="expected 17 points, got 3 in an instance of image 4"):
        evaluate([], [Detection(4, np.zeros((3, 2)), 1.0)], SIGMAS)


def test_the_constants_of_coco() -> None:
    params = pytest.importorskip("pycocotools.cocoeval").Params("keypoints")
    np.testing.assert_allclose(SIGMAS, params.kpt_oks_sigmas, rtol=0, atol=1e-15)
    assert list(COCO_SIGMAS)[:3] == ["nose", "left_eye", "right_eye"]
