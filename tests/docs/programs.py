"""What parses the commands of the pages, and what runs them."""

import argparse
import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence

import pytest

from tests.docs.pages import ROOT, Command

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
ALIASES = {"rgbir-train": "train.py", "rgbir-eval": "eval.py"}
LAUNCHERS = ("srun", "gcloud")  # what follows "python" is checked
STANDS_FOR = {"...": ("--config", "quickstart", "--workdir", "runs/x"), "FILE": ("examples/own_stage.py",)}

# By program and flags, those of --config.KEY excepted: the make target or the test that runs such a command. A command
# within a sentence may have fewer flags.
RUN_BY = {
    "train.py config workdir": "make quickstart",
    "train.py config describe": "tests/test_start_up.py::test_a_description_imports_no_tensorflow",
    "train.py config describe json": "tests/end_to_end/test_wheel.py::test_it_draws_trains_scores_and_opens_a_run",
    "train.py config workdir distributed": "tests/end_to_end/test_processes.py::"
    "test_two_processes_train_and_one_continues_to_the_same_scores",
    "train.py config workdir distributed coordinator process_count process_index": "tests/end_to_end/test_processes.py"
    "::test_two_processes_train_and_one_continues_to_the_same_scores",
    "train.py debug_nans": "tests/training/test_loop.py::test_a_replay_shows_the_operation",
    "train.py help": "tests/test_start_up.py::test_help_imports_neither_jax_nor_tensorflow",
    "eval.py workdir": "make quickstart-table6",
    "eval.py workdir disentanglement": "make quickstart",
    "eval.py workdir disentanglement judge swap_images": "make showcase",
    "eval.py workdir data_dir disentanglement judge swap_images": "tests/end_to_end/test_recipe.py::"
    "test_the_command_measures_and_reports",
    "eval.py workdir disentanglement swap_images": "tests/end_to_end/test_recipe.py::"
    "test_the_command_measures_and_reports",
    "eval.py workdir features_out": "tests/end_to_end/test_wheel.py::test_it_draws_trains_scores_and_opens_a_run",
    "eval.py workdir data_dir": "tests/test_origin.py::test_scores_of_other_data_do_not_replace_those_of_the_run",
    "eval.py workdir protocol": "tests/end_to_end/test_recipe.py::test_a_changed_protocol_needs_no_training",
    "eval.py features rand_perm": "tests/evaluation/test_feature_file.py::"
    "test_drawn_people_are_scored_as_drawn_without_lists_of_identities",
    "eval.py features rand_perm test_ids": "tests/evaluation/test_feature_file.py::"
    "test_listed_identities_without_features_are_named",
    "eval.py table runs": "make quickstart-method2",
    "eval.py workdir rerank": "tests/end_to_end/test_recipe.py::test_the_command_measures_and_reports",
    "eval.py features rerank": "tests/evaluation/test_feature_file.py::test_reranked_scores_have_a_table_of_their_own",
    "eval.py compare": "tests/evaluation/test_per_probe.py::test_a_better_run_is_ahead_and_one_as_good_is_undecided",
    "rgbir-browse gallery open": "tests/commands/test_browse.py::test_it_is_served_until_ctrl_c",
    "rgbir-search same-at-fpr": "tests/commands/test_search_commands.py::test_a_threshold_says_who_is_the_same_person",
    "rgbir-check": "make quickstart-folders",
    "rgbir-check quick": "tests/commands/test_check.py::test_damaged_images_are_named",
    "rgbir-draw out layout train test": "make drawn_market",
    "rgbir-draw out train val test images size seed": "make showcase",
    "rgbir-search gallery run": "tests/commands/test_search_commands.py::test_files_of_features_are_searched",
    "rgbir-search gallery-modality": "tests/commands/test_search_commands.py::"
    "test_the_modality_of_a_gallery_can_be_declared",
    "rgbir-features run": "tests/commands/test_search_commands.py::test_features_are_written",
    "rgbir-index run": "tests/commands/test_search_commands.py::test_an_index_is_appended_to",
    "rgbir-search gallery out": "tests/commands/test_search_commands.py::"
    "test_the_lists_are_written_as_a_page_a_picture_and_values",
    "rgbir-search gallery explain out": "tests/commands/test_search_commands.py::"
    "test_lists_are_explained_below_the_images",
    "rgbir-browse gallery": "make browse",
    "rgbir-browse gallery port open": "tests/commands/test_browse.py::test_it_is_served_until_ctrl_c",
    "rgbir-export out": "tests/commands/test_export.py::test_a_folder_is_not_overwritten",
    "rgbir-export out format": "tests/commands/test_export.py::test_formats_are_written_into_one_folder",
    "rgbir-export out quantize": "tests/commands/test_export.py::test_a_model_in_int8_opens_as_well",
    "loader.py ir": "tests/inference/test_programs.py::test_the_loader_is_a_program",
    "examples/own_images.py": "tests/examples/test_examples.py::test_a_person_is_found_in_own_images",
    "examples/swap.py": "tests/examples/test_examples.py::test_people_are_swapped",
    "tests.datasets.test_broken_trees": "tests/datasets/test_broken_trees.py::test_the_page_has_these_messages",
    "benchmarks.seeds": "tests/benchmarks/test_seeds.py::test_every_seed_is_trained_then_scored_and_not_a_second_time",
    "benchmarks.ablations": "tests/benchmarks/test_ablations.py::test_the_table",
    "benchmarks.ablations cells": "tests/benchmarks/test_ablations.py::"
    "test_figures_are_kept_and_their_runs_are_not_trained_again",
    "benchmarks.ablations cells data_dir": "tests/benchmarks/test_ablations.py::"
    "test_a_cell_names_the_runs_that_it_starts_from_and_trains_them_first",
    "benchmarks.rows": "tests/benchmarks/test_rows.py::test_rows_start_from_earlier_ones_of_their_seed",
    "benchmarks.costs": "tests/benchmarks/test_costs.py::test_parameters_and_speed_of_a_run",
    "benchmarks.activation_maps": "make benchmarks",
    "benchmarks.activation_maps run": "tests/benchmarks/test_activation_maps.py",
    "benchmarks.input data_dir": "make benchmarks",
    "benchmarks.input images height batches rounds": "make benchmarks",
    "benchmarks.arithmetic preset": "make benchmarks",
    "benchmarks.quantization data_dir": "make benchmarks",
} | {
    f"benchmarks.{name}": "make benchmarks"
    for name in ("training_step", "features", "scoring", "search", "pairs", "start_up", "growth", "compilation")
}


def program_and_arguments(command: Command) -> tuple[str, tuple[str, ...]]:
    """Returns what is started, with the ways to start the same program taken out, and its arguments."""
    words = command.words
    if words[0] in LAUNCHERS:
        text = " ".join(words)
        words = tuple(text[text.index("python ") :].split())
    if words[0] == "python":
        words = words[2:] if words[1] == "-m" else words[1:]
    filled = [part for word in words[1:] for part in STANDS_FOR.get(word, (word,))]
    return ALIASES.get(words[0], words[0]), tuple(filled)


def flags_of(arguments: Sequence[str]) -> set[str]:
    """Returns the names of flags, those of --config.KEY excepted."""
    names = {word[2:].partition("=")[0] for word in arguments if word.startswith("--")}
    return {name for name in names if not name.startswith("config.")}


def run_by(command: Command) -> str:
    """Returns the make target or the test that runs such a command; empty if none does."""
    program, arguments = program_and_arguments(command)
    flags = flags_of(arguments)
    for key, where in RUN_BY.items():
        name, *known = key.split()
        if name == program and (flags == set(known) if command.is_whole else flags <= set(known)):
            return where
    return ""


def lacks(key: str, where: str) -> str:
    """Says what a make target or a test of `RUN_BY` lacks of what it should run; empty if nothing."""
    program, *flags = key.split()
    if where.startswith("make "):
        text = recipe_of(where.removeprefix("make "))
        program = SCRIPTS.get(program, program).partition(":")[0]
        parts = [program, *(f"--{flag}" for flag in flags)]
    else:
        file, _, name = where.partition("::")
        text = (ROOT / file).read_text()
        parts = [*flags, *([f"def {name}("] if name else [])]
    return ", ".join(part for part in parts if part not in text)


def recipe_of(target: str) -> str:
    """Returns the commands of a make target."""
    makefile = (ROOT / "Makefile").read_text()
    for variable, value in re.findall(r"^(\w+) :?\??= (.*)$", makefile, re.MULTILINE):
        makefile = makefile.replace(f"$({variable})", value)
    match = re.search(rf"^{re.escape(target)}\b[^\n]*:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    return match[1] if match else ""


PARSE = """
import json, os, sys
from rgbir_jax.commands import flags, {module} as program
for argv, is_whole in json.load(sys.stdin):
    sys.stderr.flush()
    if os.fork():
        os.wait()
        continue
    try:
        flags._parse(argv)
        if is_whole and hasattr(program, "_check_flags"):
            program._check_flags()
    except (SystemExit, ValueError) as error:
        print(" ".join(argv), "|", error, flush=True)
    os._exit(0)
"""


def refused_by_absl(program: str, commands: Sequence[Command]) -> str:
    """Parses commands of train.py or eval.py as the program does. Returns what it says of those that it refuses."""
    module = {"train.py": "train", "eval.py": "evaluate"}[program]
    lines = [((program, *program_and_arguments(command)[1]), command.is_whole) for command in commands]
    process = subprocess.run(
        [sys.executable, "-c", PARSE.format(module=module)],
        input=json.dumps([line for line in lines if "--help" not in line[0]]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout + (process.stderr if process.returncode else "")


class Parsed(Exception):
    """Raised in place of running a program."""


def refused_by_argparse(program: str, command: Command) -> str:
    """Parses a command of a console script. Returns what is wrong with it; empty if nothing is."""
    module, _, main = SCRIPTS[program].partition(":")
    parse_args = argparse.ArgumentParser.parse_args
    message: list[str] = []

    def parse(parser, args=None, namespace=None):
        for action in parser._actions:
            action.required = action.required and command.is_whole
        parse_args(parser, args, namespace)
        raise Parsed

    def error(parser, text):
        message.append(text)
        raise Parsed

    run = getattr(importlib.import_module(module), main)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "error", error)
        with pytest.raises(Parsed):
            run(list(program_and_arguments(command)[1]))
    return "".join(message)


def unknown_to_module(module: str, arguments: Sequence[str]) -> set[str]:
    """Returns flags that do not occur in the source of a module, which `python -m` runs."""
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {flag for flag in flags_of(arguments) if not {flag, f"--{flag}"} & texts}
