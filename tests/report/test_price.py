"""The sentence on what a head adds to the network that it stands on."""

from __future__ import annotations

from typing import Any

from evonas.report.price import percent, price, price_of_copy


def backbone(upto: int = 200_000_000, full: int | None = 250_000_000) -> dict[str, Any]:
    up_to_tap = {"macs": upto, "params": 300_000, "megabytes": 1.2}
    known = full and {"macs": full, "params": 5_000_000}
    return {"tap": "block3", "up_to_tap": up_to_tap, "full": known}


def test_the_share_is_that_of_the_whole_recogniser() -> None:
    said = price(7_000_000, 225_000, backbone())
    assert said == "Adds 2.8 % operations and 0.9 MB to your network."
    assert (
        price(20_000, 2_000, backbone()) == "Adds 0.008 % operations and 0.008 MB to your network."
    )


def test_what_is_known_only_up_to_the_tap_says_so() -> None:
    said = price(7_000_000, 225_000, backbone(full=None))
    assert said.startswith("Adds 3.5 % to the operations of the backbone up to block3, and 0.9 MB;")
    assert said.endswith("the cost of the layers after it is not known.")


def test_in_total_both_are_added_up() -> None:
    said = price(7_000_000, 225_000, backbone(), "total")
    assert said == ("The whole network up to block3 with its head: 207.0 M multiply-adds, 2.1 MB.")


def test_a_network_on_the_image_stands_alone() -> None:
    on_image = {"tap": "image", "up_to_tap": {"macs": 0, "params": 0}, "full": None}
    assert price(12_300_000, 525_000, on_image) == "The network: 12.3 M multiply-adds, 2.1 MB."


def test_an_older_result_says_nothing() -> None:
    assert price(1, 1, None) == ""


def test_a_second_copy_is_paid_beside_the_frozen_network() -> None:
    before, after = (7_000_000, 225_000), (57_000_000, 350_000)
    assert price_of_copy(before, after, "block1", backbone()) == (
        "Adds 22.8 % operations and 1.4 MB to your network, which stays frozen beside a second "
        "copy of the layers from block1 to block3; before: 2.8 % and 0.9 MB."
    )
    assert percent(57_000_000, backbone()) == 22.8
    said = price_of_copy(before, after, "image", backbone(full=None))
    assert said.startswith("Adds 28.5 % to the operations up to block3 and 1.4 MB to your network")
    assert "a second copy of all layers up to block3; before: 3.5 % and" in said


def test_trained_layers_cost_nothing_more_where_they_run_for_this_task_alone() -> None:
    before, after = (7_000_000, 225_000), (57_000_000, 350_000)
    assert price_of_copy(before, after, "block1", backbone(), "total") == (
        "The whole network up to block3 with its head: 207.0 M multiply-adds, 2.1 MB, as before; "
        "the layers from block1 to block3 are trained, since they run for this task alone."
    )
