"""Describes what a recipe will do, before anything runs."""

import json
import math
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.datasets import find_dataset
from rgbir_jax.lookup import expand_home
from rgbir_jax.origin import flat
from rgbir_jax.training import compilation, parallel
from rgbir_jax.training.stage import Stage


def describe(config: ConfigDict, as_json: bool = False, flops: bool = False) -> str:
    """Describes a recipe as text, or as JSON with the same content: networks by their shapes, nothing is computed.

    Args:
        config: the recipe.
        as_json: whether the result is JSON.
        flops: whether to compile each step on this machine's kind of device and count its operations, a multiplication
            and an addition as two. It takes minutes.

    Raises:
        UserError: for a config that contradicts itself.
    """
    compilation.prepare()
    expand_home(config)
    stages.check_recipe(config)
    find_dataset(config.dataset).check_protocol(config.protocol)
    classes, source = _classes(config)
    description: dict = {
        "recipe": list(config.recipe),
        "dataset": config.dataset,
        "identities": classes,
        "identities_from": source,
        "dtype": config.dtype,
        "stages": {},
    }
    previous = {}
    for name in config.recipe:
        stage = stages.build(config, name, classes)
        state = jax.eval_shape(stage.init, jax.random.key(0), dict(previous))
        description["stages"][name] = _stage(config, name, stage, state)
        if flops:
            description["stages"][name]["flops_per_step"] = step_flops(stage, state)
        previous[name] = state
    description["config"] = json.loads(config.to_json())
    return json.dumps(description, indent=1) if as_json else _text(description, config)


def step_flops(stage: Stage, state) -> float:
    """Returns the number of operations of one compiled iteration on all devices."""
    devices = jax.local_device_count()
    batch = {
        name: jax.ShapeDtypeStruct((devices, shape[0] // devices, *shape[1:]), dtype)
        for name, (shape, dtype) in stage.batch_spec().items()
    }
    compiled = parallel.pmap(stage.train_step).lower(state, batch, jax.eval_shape(jax.random.key, 0)).compile()
    return devices * compiled.cost_analysis()["flops"]


def _stage(config: ConfigDict, name: str, stage: Stage, state) -> dict:
    own = config[name]
    networks = {}
    for network, spec in stage.networks.items():
        _, outputs = spec.shapes()
        networks[network] = {
            "parameters": _count(state.params[network]),
            "outputs": [list(leaf.shape[1:]) for leaf in jax.tree.leaves(outputs)],
        }
    return {
        "stage": own.stage,
        "from_run": own.from_run,
        "steps": own.steps,
        "networks": networks,
        "frozen": {frozen: _count(tree["params"]) for frozen, tree in state.frozen.items()},
        "groups": {
            group: {
                "networks": list(members.networks),
                "optimizer": own.optimizers[group].to_dict() | own.decay.to_dict(),
            }
            for group, members in stage.groups.items()
        },
        "weights": {term: _ramp(own, term) for term in own.get("weights", {}) if own.weights[term]},
        "batch": {name: list(shape) for name, (shape, _) in stage.batch_spec().items()},
    }


def _classes(config: ConfigDict) -> tuple[int, str]:
    """Returns the number of training identities, and where that number is from."""
    dataset = find_dataset(config.dataset)
    if Path(config.data_dir).is_dir() or not dataset.identities:
        records = dataset.read_with(Path(config.data_dir), config)
        rows = dataset.training_rows(records, config.train_split)
        return len(np.unique(records.person_id[rows])), config.data_dir
    return dataset.identities[config.train_split], f"its publication ({config.data_dir} does not exist)"


def _count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _ramp(own: ConfigDict, term: str) -> dict:
    """Returns a term's final weight and, if it starts late, between which iterations it grows."""
    weight = own.weights[term]
    if "ramp" not in own or term not in own.ramp.slope:
        return {"weight": weight}
    return {"weight": weight, "from": own.ramp.start, "to": own.ramp.start + round(weight / own.ramp.slope[term])}


def _text(description: dict, config: ConfigDict) -> str:
    lines = [
        f"recipe      {' -> '.join(description['recipe'])}",
        f"dataset     {description['dataset']}, {description['identities']} training identities, "
        f"from {description['identities_from']}",
        f"dtype       {description['dtype']}",
    ]
    for name, stage in description["stages"].items():
        lines += [
            "",
            f"{name}: stage {stage['stage']}, "
            + (f"taken from {stage['from_run']}" if stage["from_run"] else f"{stage['steps']:,} iterations"),
        ]
        shapes = ", ".join(f"{field} {'x'.join(map(str, shape))}" for field, shape in stage["batch"].items())
        lines += [f"  batch: {shapes} (identity, modality, shot, height, width, channel)"]
        lines += [f"  {'network':<16}{'parameters':>12}  output"]
        for network, spec in stage["networks"].items():
            outputs = ", ".join("x".join(map(str, output)) for output in spec["outputs"])
            lines.append(f"  {network:<16}{spec['parameters']:>12,}  {outputs}")
        lines += [f"  {network:<16}{count:>12,}  frozen" for network, count in stage["frozen"].items()]
        lines.append("  optimizers")
        for group, spec in stage["groups"].items():
            rule = spec["optimizer"]
            drops = f", x{rule['factor']} at {', '.join(f'{at:,}' for at in rule['at'])}" if rule["at"] else ""
            warmup = f", warm-up {rule['warmup']:,}" if rule["warmup"] else ""
            lines.append(
                f"  {group:<16}{rule['kind']} {rule['learning_rate']:g}{drops}{warmup}: {', '.join(spec['networks'])}"
            )
        if stage["weights"]:
            lines.append("  weights")
        for term, weight in stage["weights"].items():
            ramp = f"  grows from iteration {weight['from']:,} to {weight['to']:,}" if "from" in weight else ""
            lines.append(f"  {term:<16}{weight['weight']:g}{ramp}")
        if "flops_per_step" in stage:
            lines.append(f"  {'FLOPs per step':<16}{stage['flops_per_step']:.3e}")
    values = [f"  config.{key} = {value!r}" for key, value in sorted(flat(config.to_dict()).items())]
    return "\n".join([*lines, "", "config", *values])
