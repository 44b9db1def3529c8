"""What a recipe will do, before anything runs."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rgbir_jax import stages
from rgbir_jax.data.layouts import LAYOUTS
from rgbir_jax.recipe import TRAIN_SPLITS
from rgbir_jax.training import compilation, parallel
from rgbir_jax.training.stage import Stage

# Training identities of the published datasets, for a description without their files.
_IDENTITIES = {
    ("sysu_mm01", "trainval"): 395,
    ("sysu_mm01", "train"): 296,
    ("market1501", "trainval"): 751,
    ("market1501", "train"): 751,
}


def describe(config: ConfigDict, as_json: bool = False) -> str:
    """The recipe as text, or as JSON with the same content.

    FLOPs are those of the compiled step on this machine's kind of device, multiply and add counted as two.

    Raises:
        ValueError: for a config that contradicts itself.
    """
    compilation.prepare()
    classes, source = _classes(config)
    description: dict = {
        "recipe": list(config.recipe),
        "dataset": config.dataset,
        "identities": classes,
        "identities_from": source,
        "batch": _batch_shape(config),
        "dtype": config.dtype,
        "stages": {},
    }
    previous = {}
    for name in config.recipe:
        stage = stages.build(config, name, classes)
        state = jax.eval_shape(stage.init, jax.random.key(0), previous)
        description["stages"][name] = _stage(config, name, stage, state)
        previous[name] = state
    return json.dumps(description, indent=1) if as_json else _text(description)


def step_flops(config: ConfigDict, stage: Stage, state) -> float:
    """Operations of one compiled iteration on all devices."""
    devices = jax.local_device_count()
    identities, modalities, shots, *image = _batch_shape(config)
    lead = (devices, identities // devices)
    images = (*lead, modalities, shots)
    batch = {
        "label": jax.ShapeDtypeStruct(lead, jnp.int32),
        "camera": jax.ShapeDtypeStruct(images, jnp.int32),
    }
    if stage.reads:
        embedding = config[stage.reads].networks.head.bottleneck
        batch["embedding"] = jax.ShapeDtypeStruct((*images, embedding), jnp.float32)
    else:
        batch["image"] = jax.ShapeDtypeStruct((*images, *image), jnp.uint8)
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
        "flops_per_step": step_flops(config, stage, state),
    }


def _classes(config: ConfigDict) -> tuple[int, str]:
    """(training identities, where that number is from)."""
    if Path(config.data_dir).is_dir():
        records = LAYOUTS[config.dataset](config.data_dir)
        chosen = np.isin(records.split, TRAIN_SPLITS[config.train_split])
        return len(np.unique(records.person_id[chosen])), config.data_dir
    return _IDENTITIES[config.dataset, config.train_split], f"the published dataset ({config.data_dir} is not there)"


def _batch_shape(config: ConfigDict) -> list[int]:
    return [config.batch.identities, len(config.modalities), config.batch.shots, *config.image_size, 3]


def _count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _ramp(own: ConfigDict, term: str) -> dict:
    """A term's final weight and, where it starts late, between which iterations it grows."""
    weight = own.weights[term]
    if "ramp" not in own or term not in own.ramp.slope:
        return {"weight": weight}
    return {"weight": weight, "from": own.ramp.start, "to": own.ramp.start + round(weight / own.ramp.slope[term])}


def _text(description: dict) -> str:
    lines = [
        f"recipe      {' -> '.join(description['recipe'])}",
        f"dataset     {description['dataset']}, {description['identities']} training identities, "
        f"from {description['identities_from']}",
        f"batch       {' x '.join(map(str, description['batch']))} (identity, modality, shot, height, width, channel), "
        f"{description['dtype']}",
    ]
    for name, stage in description["stages"].items():
        lines += [
            "",
            f"{name}: stage {stage['stage']}, "
            + (f"taken from {stage['from_run']}" if stage["from_run"] else f"{stage['steps']:,} iterations"),
        ]
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
        lines.append(f"  {'FLOPs a step':<16}{stage['flops_per_step']:.3e}")
    return "\n".join(lines)
