"""Published results: figures as their sources print them, and tables that say what they are of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evonas.report import evaluation_tables as tested
from evonas.report import published_results as published


def test_published_rows_are_those_of_the_sources() -> None:
    rows = published.rows("aflw2000")
    found = {row.method: row for row in rows}
    assert found["HopeNet alpha 2"].errors == (6.47, 6.56, 5.44, 6.16)
    assert found["ResNet-50 + CBAM alpha 2"].errors[-1] == 5.422
    assert "LEAKY" in found["ResNet-50 + CBAM alpha 2"].note
    assert [row.errors[-1] for row in rows] == sorted(row.errors[-1] for row in rows)
    assert all(row.source for row in rows)
    assert published.rows("pointing04") == []


#: McNally et al. 2021, table of COCO val, as in the notes of 2021-01-12 (source 004): parameters
#: and FLOPs, then AP, AP50, AP75, APM, APL, AR.
EVOPOSE = {
    ("EvoPose2D-XS", "random", "256 x 192"): (2.53, 0.47, 67.7, 87.8, 75.8, 64.5, 73.7, 74.7),
    ("EvoPose2D-XS", "inherited", "256 x 192"): (2.53, 0.47, 68.0, 87.9, 76.1, 64.5, 74.3, 75.0),
    ("EvoPose2D-S", "random", "256 x 192"): (2.53, 1.07, 69.8, 88.6, 77.3, 66.3, 76.2, 76.4),
    ("EvoPose2D-S", "inherited", "256 x 192"): (2.53, 1.07, 70.2, 88.9, 77.8, 66.5, 76.8, 76.9),
    ("EvoPose2D-M", "random", "384 x 288"): (7.34, 5.59, 75.1, 90.2, 81.9, 71.5, 81.7, 81.0),
    ("EvoPose2D-L", "random", "512 x 384"): (14.7, 17.7, 76.6, 90.5, 83.0, 72.7, 83.4, 82.3),
}


def test_published_key_points_are_those_of_the_source() -> None:
    rows = published.rows("coco_keypoints")
    val = [row for row in rows if "val2017;" in row.protocol.text]
    found = {
        (row.method, row.start, row.input): (row.mparams, row.gflops, *row.precision)
        for row in val
        if row.method in {name for name, _, _ in EVOPOSE}
    }
    assert found == EVOPOSE
    assert (len(val), len(rows)) == (22, 28)
    assert all(len(row.precision) == 6 and "McNally et al. 2021" in row.source for row in rows)
    (best,) = (row for row in rows if row.method == "EvoPose2D-L" and row not in val)
    assert best.precision == (75.7, 91.9, 83.1, 72.2, 81.5, 81.7)
    precisions = [row.precision[0] for row in val]
    assert precisions == sorted(precisions, reverse=True)


def test_every_row_of_the_source_is_there_as_printed() -> None:
    """Digit by digit, where the notes on the paper are at hand."""
    files = sorted((Path(__file__).parents[3] / "shared" / "sources").glob("004_*.txt"))
    if not files:
        pytest.skip("the notes on the paper are not there")
    printed = []
    for line in files[0].read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 12 and cells[0] != "Method" and not cells[0].startswith("-"):
            figures = [re.sub("[^0-9.]", "", cell) for cell in cells[4:]]
            printed.append(
                [cells[3].replace("×", "x"), *(f"{float(x):g}" if x else "-" for x in figures)]
            )
    rows = published.rows("coco_keypoints")
    assert sorted(list(row.cells[1:]) for row in rows) == sorted(printed)


def test_key_points_have_a_table_of_their_own_a_protocol() -> None:
    rows = published.rows("coco_keypoints")
    val, dev = tested.published(rows, "coco_keypoints", 6352)
    heads = ["start", "input", "M params", "G FLOPs", "AP", "AP50", "AP75", "APM", "APL", "AR"]
    assert list(val.columns) == list(dev.columns) == ["method", *heads, "source and remarks"]
    assert (len(val.rows), len(dev.rows)) == (22, 6)
    assert "NOT comparable" in val.title
    assert "NOT comparable" in dev.title
    assert "above: trained on coco_keypoints, tested on 6352 images" in val.notes
    assert any("annotated boxes and square crops" in note for note in val.notes)
    (small,) = (row for row in val.rows if row[:2] == ["EvoPose2D-S", "inherited"])
    assert " ".join(small[2:-1]) == "256 x 192 2.53 1.07 70.2 88.9 77.8 66.5 76.8 76.9"
    daggers = [row[0] for row in val.rows if "dagger" in row[-1]]
    assert len(daggers) == 10


def test_a_mean_that_does_not_follow_from_its_angles_is_said() -> None:
    said = [row.method for row in published.rows("aflw2000") if "give a mean" in row.remarks]
    assert said == ["SSR-Net-MD", "ShuffleNetV2 alpha 2"]


def test_protocols_never_share_a_table() -> None:
    rows = published.rows("biwi")
    tables = tested.published(rows, "w300lp", 13219)
    assert len(tables) == len({row.protocol.text for row in rows}) == 2
    assert all("NOT comparable" in table.title for table in tables)
    assert sum(len(table.rows) for table in tables) == len(rows)


def test_a_flip_test_is_not_the_protocol_of_single_passes() -> None:
    (table,) = tested.published(published.rows("aflw2000"), "w300lp", 1969, flip=True)
    assert "NOT comparable" in table.title
    assert "above: trained on w300lp, tested on 1969 images, with a flip test" in table.notes
    protocol = published.Protocol("a", "b", "", 5, flip=True)
    assert protocol.followed_by("a", 5, flip=True)
    assert not protocol.followed_by("a", 5)


def test_only_the_same_training_set_and_images_are_called_the_same_protocol() -> None:
    rows = published.rows("aflw2000")
    for train, images, same in (
        ("w300lp", 1969, True),
        ("w300lp", 16, False),
        ("pointing04", 1969, False),
    ):
        (table,) = tested.published(rows, train, images)
        assert ("NOT comparable" not in table.title) is same
        notes = " ".join(table.notes)
        assert (f"above: trained on {train}, tested on {images} images" in notes) is not same
