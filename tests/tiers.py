"""Which cases of a test stand for the others in `make test`.

A test over every optimizer, network or document is slow because of a few of its cases. Those are
named here by their ids, so that the test itself stays one over all of them: `make test-all` runs
every case. A whole test that is slow has the marker in its own file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

#: Name of a test -> regular expression of the ids (what pytest shows in brackets) that are slow.
SLOW_CASES = {
    # Whole tests, of which quicker ones protect the same in `make test`.
    **dict.fromkeys(
        (
            "test_the_python_of_the_page_runs",
            "test_every_cell_runs",
            "test_a_killed_and_a_stopped_search_end_as_the_uninterrupted_one",
            "test_a_swarm_without_anything_new_around_is_scattered",
            "test_nothing_is_asked_twice_and_every_ask_is_full_while_there_is_room",
            "test_no_architecture_is_asked_twice",
            "test_broken_off_at_any_moment",
            "test_retrained_and_exported_networks",
            "test_features_on_a_disk_that_fills_up",
            "test_a_run_that_was_copied_to_another_person",
            "test_from_pruning_to_predictions",
            "test_strategies_are_compared",
            "test_the_result_has_less_of_everything_and_says_against_what",
            "test_a_higher_threshold_asks_for_fewer_filters",
            "test_every_step_leaves_its_result_and_the_table_says_what_is_left",
            "test_a_strategy_ends_keeps_its_budget_and_says_why",
            "test_a_race_that_was_broken_off_goes_on",
            "test_a_run_that_was_killed_in_its_first_generation_starts_anew",
            "test_a_run_that_is_stopped_anywhere_ends_as_one_that_is_not",
            "test_a_training_that_never_ends_is_a_timeout_and_the_others_go_on",
            "test_what_runs_out_of_memory_beside_others_is_tried_alone",
            "test_a_yaml_bomb_is_refused",
            "test_a_shipped_experiment_on_real_faces_is_fine",
            "test_a_program_from_a_file_is_quantised_as_a_module_is",
            "test_a_quantised_network_gets_its_answer",
            "test_the_journal_cut_at_every_byte_of_its_last_two_lines",
            "test_one_pass_for_all_taps_and_none_the_second_time",
            "test_a_bowl_of_65536_is_solved_in_150_trainings",
            "test_every_channel_of_a_weight_has_its_own_scale",
            "test_a_network_is_quantised_judged_and_tested_again",
            "test_pictures_and_markdown",
        ),
        ".*",
    ),
    # Optimizers: the slowest of them, and kinds of fitness that stand for others.
    "test_a_bowl_of_65536_is_solved_in_120_trainings": r"[1-4]",
    "test_a_small_space_is_met_in_full_and_then_ends": (
        r".*-(64|rounded)-.*|(cma|pso)-conditional-.*"
    ),
    "test_all_stages_fit_the_minutes": r".*-(?!random|surrogate|local).*",
    "test_a_window_cut_after_any_row_ends_the_same": r"surrogate",
    "test_any_sequence_of_failures_and_successes": r"surrogate|bobyqa",
    "test_beats_random_search_on_a_smooth_problem": r"surrogate|bobyqa|pso|nsga2|local",
    "test_failures_stop_no_search_and_spoil_no_best": (
        r".*-(all zero|one nan|one inf|minus inf|huge|only huge|tiny)"
    ),
    "test_failures_that_are_met_again_in_a_small_space": r"cma|nsga2|pso",
    "test_a_resumed_run_needs_no_other_run_and_asks_the_same": r".*-(?!cma|random).*",
    "test_few_feasible_architectures": r"cma|pso|nsga2|surrogate",
    "test_no_strategy_depends_on_the_order_of_sets": r".*-carrying|(?!cma|ga).*",
    "test_silence": r"(?!pso|random).*",
    "test_what_is_asked_is_near_the_parents": r"surrogate",
    "test_successes_that_become_worse_and_worse_outrank_every_failure": (
        r".*-20-0\.[28]|surrogate-.*"
    ),
    "test_import_sets_up_no_logging_and_writes_no_file": r"environment0",
    # Networks: two shapes of a map for the heads, one for those of fifty layers.
    "test_counts_agree": r".*-[2-6]|(evopose2d|resnet50|head_pose_nas_2020)-1",
    "test_every_value_of_every_gene_matters_somewhere": r"evopose2d",
    "test_first_outputs_are_of_order_one": r"evopose2d|resnet50|shufflenet_v2",
    "test_the_loop_trains_as_the_textbook_does": r"(?!heatmap_head|master_module|quickstart).*",
    "test_trains_and_answers": (
        r".*-\((64, 17, 17|256, 4, 4|32, 3, 3|7, 5, 6|1, 2, 9)\)"
        r"|(evopose2d|resnet50|head_pose_nas_2020)-\(128, 8, 8\)"
    ),
    "test_weights_follow_from_torchs_generator": r"resnet50",
    "test_the_formula_the_trace_and_torch_agree": (
        r"(?!\((5, 1, 1\)-(1\.5-kept|none)|3, 64, 64\)-(0\.5-dropped|cbam))).*"
    ),
    # Files of networks: one of each kind of answer, operator and format.
    "test_a_file_answers_as_the_task_predicts": r"key points|rotation|bins",
    "test_an_operator_without_a_form_is_named_with_its_block": r"onnx",
    "test_a_file_that_answers_otherwise_is_not_kept": r"torch_export",
    "test_integers_are_close_to_floats": r"(Halves|Excited|Sloped)-.*",
    "test_a_pruned_backbone_is_the_whole_one_with_zeros": r"(?!synthetic_face|torch_module).*",
    "test_what_is_left_computes_what_the_whole_does_with_zeros": r"(?!Residual|Gated).*",
    # Faults, generated input, and sizes of a figure.
    "test_a_changed_space_is_whole_or_refused": r"evopose2d|head_pose_nas_2020",
    "test_nothing_is_cut_off_whatever_the_size": r"2-3|120-1",
    "test_the_system_itself_refuses_a_longer_file": r"1000|3000|7000",
    "test_with_two_axes": r"(?!half fail|one inf).*",
    "test_a_run_that_was_moved_goes_on": r"0\.3|0\.9",
}


#: Folder -> markers of its tests.
FOLDERS = {"faults": ("faults",), "fuzz": ("fuzz", "slow"), "benchmarks": ("slow",)}


def mark(items: Iterable[pytest.Item]) -> set[str]:
    """Give tests their markers; return the tests of the table without a slow case."""
    found = set()
    for item in items:
        for folder in item.path.parts:
            for marker in FOLDERS.get(folder, ()):
                item.add_marker(marker)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        name, _, case = item.name.partition("[")
        if name in SLOW_CASES and re.fullmatch(SLOW_CASES[name], case.removesuffix("]")):
            item.add_marker("slow")
            found.add(name)
    return SLOW_CASES.keys() - found
