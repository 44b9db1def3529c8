"""Scored runs as rows of the paper's tables.

A run's row follows from its config: the kind of its last stage, that stage's terms, and the choices on which the paper
and DG-Net differ.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.published import LAYOUTS, RANK, RUN, TERMS, Figure, Layout, Row
from rgbir_jax.files import read_json

# The presets of the image system, as their choices and the terms that have a weight; other systems are ablations.
_CHOICES = (
    "adversarial",
    "teacher_kl",
    "detach_appearance",
    "freeze_appearance",
    "alternate_structure",
    "networks.E_a.slices",
    "networks.D.num_scales",
)
_SHARED_TERMS = {"L_simple", "L_cross", "L_id_orig", "L_id_recon", "L_code_s", "L_adv_D", "L_adv_G", "L_dis"}
_PAPER_TERMS = _SHARED_TERMS | {"L_code_a"}
_PAPER_SYSTEM = ("bce", "p||q", False, False, False, "part", 1, "appearance", "grey", "any", "logits"), _PAPER_TERMS
_BEST_SYSTEM = (
    ("bce", "p||q", False, False, False, "part", 1, "appearance", "contours", "any", "pooled"),
    _PAPER_TERMS - {"L_simple"} | {"L_triplet"},
)
_DGNET_TERMS = {"L_fine_orig", "L_fine_recon", "L_R1", "L_cycle"}
_DGNET_SYSTEM = (
    ("lsgan", "q||p", True, True, True, "channel", 3, "appearance", "grey", "any", "logits"),
    _SHARED_TERMS | _DGNET_TERMS,
)
_RELEASED_TERMS = _SHARED_TERMS - {"L_dis"} | _DGNET_TERMS | {"L_triplet"}
_RELEASED_SYSTEM = (
    ("lsgan", "q||p", False, True, True, "channel", 3, "structure", "grey", "any", "logits"),
    _RELEASED_TERMS,
)
# The two-stem systems: pooling, whether there are non-local blocks, whether channels are exchanged, mixed and scaled;
# and the terms that have a weight.
_TWO_STEM_SYSTEMS = {
    "AGW's baseline": (("avg", False, False, False, False), {"L_id", "L_tri"}),
    "AGW": (("gem", True, False, False, False), {"L_id", "L_wrt"}),
    "CAJ": (("gem", True, True, False, False), {"L_id", "L_esd"}),
    "CAJ with AGW's loss": (("gem", True, True, False, False), {"L_id", "L_wrt"}),
    "RLE's baseline": (("parts", False, False, False, False), {"L_id", "L_id_part", "L_tri", "L_tri_part"}),
    "RLE": (("parts", False, False, True, True), {"L_id", "L_id_part", "L_tri", "L_tri_part"}),
}


class Run(NamedTuple):
    """A scored run: its folder, the folder's name under --runs, and the content of its two files."""

    folder: Path
    name: str
    config: dict
    scores: dict


def read_runs(root: Path) -> list[Run]:
    """Reads every scored run one or two folders deep, by name."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; --runs names the one that the runs' folders are in.")
    names = ("config.json", "scores.json")
    folders = {path.parent for name in names for depth in ("*", "*/*") for path in root.glob(f"{depth}/{name}")}
    found = []
    for folder in sorted(folders):
        if not (folder / "scores.json").is_file():
            _leave_out(folder, f"it is not scored yet; eval.py --workdir {folder} does it")
            continue
        try:
            config = read_json(folder / "config.json")
            scores = read_json(folder / "scores.json", _again(folder))
            found.append(Run(folder, folder.relative_to(root).as_posix(), config, scores))
        except OSError as error:
            _leave_out(folder, f"its config.json or scores.json cannot be read ({error})")
        except UserError as error:
            _leave_out(folder, str(error))
    if not found:
        raise UserError(
            f"{root} has no scored run, one or two folders deep; eval.py --workdir {root}/NAME scores one, and "
            f"without --runs only the published rows are printed."
        )
    return found


def rows_of(run: Run, name: str) -> list[Row]:
    """Returns a run's rows, followed by its controls.

    There are none if the run belongs to another table, or if it cannot be read, which a line on stderr says.
    """
    layout = LAYOUTS[name]
    try:
        last = run.config[run.config["recipe"][-1]]
        if not _belongs(last["stage"], name):
            return []
        if absent := [search for search in layout.searches.values() if search not in run.scores["trained"]]:
            _leave_out(run.folder, f"it has no scores {' and '.join(absent)}, on {run.scores['dataset']}")
            return []
        method = _method(run.config, last) or run.folder.name
        dataset = _test_set(run.scores, layout)
        systems = {method: "trained"} | {f"{method}; control: by {name}": name for name in run.scores["controls"]}
        return [
            Row(
                RUN,
                shown,
                {
                    words: _figures(run.scores[system][search], layout.columns)
                    for words, search in layout.searches.items()
                },
                dataset=dataset,
                run=run.name,
                protocol=run.scores["protocol"],
                steps=run.scores["steps"],
                seed=run.config["seed"],
            )
            for shown, system in systems.items()
        ]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        _leave_out(run.folder, f"its config.json or scores.json is of another layout ({error!r}); {_again(run.folder)}")
        return []


def _test_set(scores: dict, layout: Layout) -> str:
    """Names the test images of a run: those of the published rows are recognised by their numbers, not by their name.

    Args:
        scores: the content of scores.json.
        layout: the table.
    """
    search, probes, gallery = layout.counts
    scored = scores["trained"].get(search)
    if scores["dataset"] != layout.test_set:
        return scores["dataset"]
    if not scored:
        return f"{layout.test_set}, incomplete"
    if scored["probe_images"] == probes and gallery in (None, scored["gallery_images"]):
        return layout.test_set
    return f"{layout.test_set}, {counted(scored['probe_images'], scored['gallery_images'])}"


def counted(probes: int, gallery: int | None) -> str:
    """Says how many images a search has; None for an unknown number of gallery images."""
    return f"{probes:,} probes" + (f" and {gallery:,} gallery images" if gallery is not None else "")


def _figures(scored: dict, columns: Sequence[str]) -> dict[str, Figure]:
    """Returns the columns of a setting of scores.json, in percent."""
    several = len(scored["trials"]) > 1 and scored.get("different_galleries") != 1  # otherwise they cannot differ
    figures = {}
    for column in columns:
        mean = scored["cmc"][RANK[column] - 1] if column in RANK else scored[column]
        std = scored["std"].get("rank1" if column == "r1" else column) if several else None
        figures[column] = Figure(round(100 * mean, 2), None if std is None else round(100 * std, 2))
    return figures


def _belongs(kind: str, name: str) -> bool:
    """Says whether runs that end with a stage of this kind are in a table.

    Table 6 has the embedding-space system and M_bdtr, the others everything but the former.
    """
    return kind in ("embedding", "two_stream") if name == "6" else kind != "embedding"


def _method(config: dict, stage: dict) -> str | None:
    """Returns the name of a run's last stage; None if neither the paper nor a preset has one for it."""
    match stage["stage"]:
        case "classifier":
            return None if stage.get("start_from") else _classifier_method(stage)
        case "embedding":
            return _embedding_method(stage)
        case "two_stream":
            return _two_stream_method(config, stage)
        case "sdl":
            return _sdl_method(stage)
        case "cmpig":
            return _cmpig_method(config, stage)
        case "hicmd":
            return _hicmd_method(stage)
        case "cmgan":
            return "cmGAN" if _terms(stage) == {"L_id", "L_triplet", "L_D", "L_adv"} else None
        case "image":
            return _image_method(stage)
        case "deen":
            return _deen_method(stage)
        case "two_stem":
            return _two_stem_method(stage)
    return None


def _classifier_method(stage: dict) -> str:
    seen, networks = stage.get("input", "rgb"), stage["networks"]
    name = "teacher" if networks["head"]["bottleneck"] else "One-stream"
    parts = ["Zero-padding"] if seen == "zero_padded" else [name] if seen == "rgb" else [name, seen]
    if parts[0] != "teacher" and networks["E_a"].get("kind") != "resnet18":  # published ones have a ResNet-6
        parts.append(f"ResNet-{3 * sum(networks['E_a']['blocks']) + 2}")
    return "; ".join(parts)


def _two_stream_method(config: dict, stage: dict) -> str:
    if not stage["weights"]["L_rank"]:
        return "two-stream baseline"
    return "BDTR; batches of pairs" if config["batch"]["shots"] == 1 else "BDTR"


def _sdl_method(stage: dict) -> str | None:
    system = _terms(stage), stage["penalty"], stage["every_head"]
    if system == ({"L_id_x", "L_id_u", "L_disp", "L_dis"}, "mean", False):
        return "SDL"
    return "SDL; released preset" if system == ({"L_id_x", "L_id_u", "L_dis"}, "norm", True) else None


def _cmpig_method(config: dict, stage: dict) -> str | None:
    if _terms(stage) != {"L_recon", "L_cyc", "L_gan", "L_feature", "L_D", "L_cls", "L_triplet", "L_align"}:
        return None
    has_relu = config[stage["start_from"]]["networks"]["E"]["stem_relu"]
    return "cmPIG" if has_relu else "cmPIG; released preset"


def _hicmd_method(stage: dict) -> str | None:
    of_images = {"L_same", "L_cross", "L_cycle", "L_code", "L_kl", "L_adv", "L_D", "L_R1"}
    if _terms(stage) != of_images | {"L_CE", "L_trip"}:
        return None
    return "Hi-CMD" if stage["negatives"] == "pairs" else "Hi-CMD; released preset"


def _deen_method(stage: dict) -> str | None:
    terms, plain = _terms(stage), {"L_id", "L_tri"}
    if terms == plain:
        return "DEEN without its losses"
    return "DEEN" if terms == plain | {"L_cpm", "L_ort"} else None


def _embedding_method(stage: dict) -> str | None:
    terms = _terms(stage)
    if not terms <= set(TERMS):
        return None
    name = " + ".join(term for term in TERMS if term in terms)
    triplets = f" ({stage['triplets']} triplet)" if "L_triplet" in terms else ""
    return name + triplets


def _image_method(stage: dict) -> str | None:
    choices = tuple(functools.reduce(dict.__getitem__, path.split("."), stage) for path in _CHOICES)
    networks = stage["networks"]  # the values below are those of runs from before these choices
    later = (
        networks.get("recognises", "appearance"),
        networks["E_s"].get("sees", "grey"),
        stage.get("swaps", "any"),
        stage.get("triplet_on", "logits"),
    )
    system, transferred = ((*choices, *later), _terms(stage)), stage.get("transfer_from", "")
    if system == _PAPER_SYSTEM:
        return "Method2" if transferred else "Method1"
    presets = {"best": _BEST_SYSTEM, "dgnet": _DGNET_SYSTEM, "released": _RELEASED_SYSTEM}
    for name, preset in presets.items():
        if system == preset:
            return f"{name} preset; transferred" if transferred else f"{name} preset"
    return None


def _two_stem_method(stage: dict) -> str | None:
    networks, channels = stage["networks"], stage["channels"]
    changes = (bool(channels[change]) for change in ("exchange", "mix", "scale"))
    system = (networks["pool"], any(networks["resnet"]["non_local"]), *changes), _terms(stage)
    return next((name for name, known in _TWO_STEM_SYSTEMS.items() if system == known), None)


def _terms(stage: dict) -> set[str]:
    return {term for term, weight in stage["weights"].items() if weight}


def _again(folder: Path) -> str:
    return f"eval.py --workdir {folder} writes the scores again"


def _leave_out(folder: Path, why: str) -> None:
    print(f"{folder} is left out: {why.rstrip('.')}.", file=sys.stderr)
