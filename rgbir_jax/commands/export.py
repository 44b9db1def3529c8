"""Makes a model of a trained run that is small, or that other programs can use, without optimisers and identities.

    rgbir-export runs/quickstart --out model
    rgbir-export runs/quickstart --out model --format jax onnx

Formats, several at once if wanted:

    safetensors  weights.safetensors in float16, with config.json, run.json and, if eval.py found thresholds for "the
                 same person" on validation identities, thresholds.json; rgbir_jax.load opens the folder
    jax          features.jaxexport for CPU, CUDA and TPU, for any number of images, and swap.jaxexport if the run
                 generates images; with loader.py, which needs neither this package nor Flax:
                 python loader.py RGB_IMAGE... --ir INFRARED_IMAGE...
    onnx         features.onnx, for any number of images; it is compared with the run before it is written

model.json says what goes into the functions of jax and onnx and what comes out. docs/export.md of the project names
all parameters.
"""

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from rgbir_jax import stages as known_stages
from rgbir_jax.commands import stop
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation import thresholds
from rgbir_jax.files import whole_folder, write_json
from rgbir_jax.inference import weights
from rgbir_jax.inference.onnx_file import OPSET, to_onnx
from rgbir_jax.inference.programs import Program, features_program, swap_program
from rgbir_jax.inference.quantization import quantized
from rgbir_jax.lookup import expanded
from rgbir_jax.origin import flat, identified, versions
from rgbir_jax.run import Run, chain, load
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

NEEDS = {"safetensors": "safetensors", "jax": "flatbuffers", "onnx": "jax2onnx"}  # the package that a format needs
EXTRAS = {"jax": "export", "onnx": "onnx"}  # the extra that installs it
LOADER = Path(__file__).with_name("loader.py")


def export(run: Run, folder: Path, formats: Sequence[str] = ("safetensors",), int8: bool = False) -> None:
    """Writes the model of a run into a new folder. The names of the persons who trained stay with the run.

    Args:
        run: the run.
        folder: the folder; after an error there is none.
        formats: keys of `NEEDS`.
        int8: whether matrices and kernels are int8.

    Raises:
        UserError: if the folder exists or cannot be written, if a stage has not been trained to its end, if the run's
            thresholds are of another iteration, or if a format's package is missing or cannot convert the run.
    """
    check(folder, formats)
    _check_finished(run)
    with whole_folder(folder) as unfinished:
        if "safetensors" in formats:
            _write_weights(run, unfinished, int8)
        states = {name: quantized(state) if int8 else state for name, state in run.states.items()}
        files = {}
        if "jax" in formats:
            files |= _write_jax(run, states, unfinished)
        if "onnx" in formats:
            files |= _write_onnx(run, states, unfinished)
        if files:
            write_json(unfinished / "model.json", _facts(run) | {"files": files})


def check(folder: Path, formats: Sequence[str]) -> None:
    """Checks what can be checked without the run.

    Raises:
        UserError: if the folder exists, or if a format needs a package that is not installed.
    """
    if folder.exists():
        raise UserError(f"{folder} exists and is not overwritten; name a new folder.")
    for name in formats:
        if not find_spec(NEEDS[name]):
            raise UserError(f"the format {name} needs {NEEDS[name]}; pip install 'rgbir-jax[{EXTRAS[name]}]'.")


def _check_finished(run: Run) -> None:
    for name in chain(run.config):
        steps, done = run.config[name].steps, Checkpoints(run.folder / name / "checkpoints").latest()
        if done is not None and done < steps and not run.config[name].from_run:  # an exported run has no checkpoints
            raise UserError(
                f"{run.folder} is not finished: {name} has {done} of its {steps} iterations; repeat the command that "
                f"trained it, if these are enough with --config.{name}.steps={done}."
            )


def _write_weights(run: Run, folder: Path, int8: bool) -> None:
    """Writes what `load` opens."""
    found = run.thresholds() if (run.folder / thresholds.FILE).is_file() else None
    names = chain(run.config)
    weights.write(folder / weights.FILE, {name: run.stages[name] for name in names}, run.states, int8)
    write_json(folder / "config.json", run.config.to_dict())
    own_classes = any(":" in value for value in flat(run.config.to_dict()).values() if isinstance(value, str))
    config_folder = run.facts.config_folder if own_classes else ""
    dataclasses.replace(run.facts, config_folder=config_folder, names=[]).write(folder)
    if found:
        write_json(folder / thresholds.FILE, found.content())


def _write_jax(run: Run, states: Mapping[str, State], folder: Path) -> dict[str, dict]:
    """Writes features, and swaps if there are any, with their loader. Returns what model.json notes by file."""
    last, files = run.stages[run.last], {}
    programs = [_features(run, run.stages, states)]
    if last.renders:
        programs.append(swap_program(last, states[run.last], run.facts.image_size))
    for program in programs:
        exported, name = program.exported(), f"{program.name}.jaxexport"
        (folder / name).write_bytes(exported.serialize())
        convention = {"calling_convention_version": exported.calling_convention_version}
        files[name] = program.described() | {"platforms": exported.platforms} | convention
    shutil.copyfile(LOADER, folder / LOADER.name)
    return files


def _write_onnx(run: Run, states: Mapping[str, State], folder: Path) -> dict[str, dict]:
    """Writes features. Returns what model.json notes by file."""
    config, people = run.config.copy_and_resolve_references(), len(run.facts.people)
    config.dtype = "float32"
    program = _features(run, {name: known_stages.build(config, name, people) for name in chain(config)}, states)
    content, difference = to_onnx(program)
    (folder / "features.onnx").write_bytes(content)
    return {"features.onnx": program.described() | {"opset": OPSET, "difference_from_jax": difference}}


def _features(run: Run, stages: Mapping[str, Stage], states: Mapping[str, State]) -> Program:
    names = chain(run.config)
    of_chain = tuple(stages[name] for name in names), tuple(states[name] for name in names)
    return features_program(*of_chain, run.facts.image_size)


def _facts(run: Run) -> dict:
    """Returns what identifies the run, and the versions that export it."""
    return {
        "run": {
            "stages": {name: _identified(run, name) for name in chain(run.config)},
            "dataset": run.facts.dataset,
            "dataset_fingerprint": run.facts.fingerprint,
            "commit": run.facts.commit,
        },
        "versions": versions("jax2onnx", "onnxruntime"),
    }


def _identified(run: Run, name: str) -> dict:
    """Identifies a stage's state. Of an exported run, the weights do not say of which iteration they are."""
    facts = identified(run.states[name])
    return {"fingerprint": facts["fingerprint"]} if run.is_exported else facts


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        "rgbir-export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", required=True, type=expanded, help="the folder to make")
    parser.add_argument(
        "--format", nargs="+", choices=tuple(NEEDS), default=["safetensors"], help="what to write; default: safetensors"
    )
    parser.add_argument(
        "--quantize",
        choices=("int8",),
        help="matrices and kernels in 8 bits: half the size of safetensors, a quarter of jax and onnx",
    )
    options = parser.parse_args(argv)
    try:
        check(options.out, options.format)
        export(load(options.run), options.out, options.format, options.quantize == "int8")
        files = sorted(options.out.iterdir())
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"{options.out}: {', '.join(file.name for file in files)}; {size:.1f} MB.")
    except KeyboardInterrupt:
        stop("rgbir-export: stopped; nothing was written.")
    except UserError as error:
        sys.exit(f"rgbir-export: {error}")


if __name__ == "__main__":
    main()
