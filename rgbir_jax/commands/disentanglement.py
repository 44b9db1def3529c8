"""How well a scored run takes images apart: the content of disentanglement.json, and what it says in words."""

import sys
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rgbir_jax.commands.scoring import Scored, way_out
from rgbir_jax.data import augment
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.counterfactuals import Recogniser, counterfactuals, found_by_recogniser, swapper
from rgbir_jax.evaluation.dci import dci
from rgbir_jax.evaluation.factors import independent, label_factors, new_people
from rgbir_jax.evaluation.probes import position_means, probes
from rgbir_jax.evaluation.spaces import table_1
from rgbir_jax.files import read_json, write_json
from rgbir_jax.inference.features import extractor
from rgbir_jax.models.layers import part_max_pool
from rgbir_jax.run import Run, load
from rgbir_jax.synthetic import open_drawn
from rgbir_jax.synthetic.writing import MANIFEST

FILE = "disentanglement.json"
NEW_PEOPLE = 250  # drawn for the probes: the attributes of persons cannot be learnt from the few of a test set
CHOSEN = 24  # structure images and appearance images of each modality, if not given
PROBED = 1_500  # images that probes see at most
BATCH = 50
MAP = 4  # axes of a structure code that is a map
JUDGE = "drawn"  # the model that comes with the package


def check(run: Run, judge: str | None) -> Run | None:
    """Opens the judge of a run's swapped images, before anything is computed.

    Args:
        run: the run to be measured.
        judge: a run on other drawn people, as `load` takes it; None for the model that comes with the package.

    Returns:
        The judge; None for a run on real images, which its own teacher judges.

    Raises:
        UserError: if the run generates no images, or for a judge that is missing or was trained on the same people.
    """
    if not run.stages[run.last].renders:
        raise UserError(f"--disentanglement measures generated images, and the stage {run.last} generates none.")
    if not has_factors(run):
        return None
    opened = load(judge or JUDGE)
    seed = open_drawn(run.config.data_dir).seed
    # Runs of older versions did not note the seed.
    if opened.facts.fingerprint == run.facts.fingerprint or opened.facts.drawn_with.get("seed") == seed:
        raise UserError(
            f"the judge {opened.name} was trained on people drawn with seed {seed}, as were those of {run.folder}; "
            f"--judge takes a run on people of another seed: make judge trains runs/judge."
        )
    return opened


def has_factors(run: Run) -> bool:
    """Tells whether the true factors of a run's images are known."""
    return (Path(run.config.data_dir) / MANIFEST).is_file()


def measure(scored: Scored, judge: Run | None, chosen: int) -> dict:
    """Measures disentanglement.

    Args:
        scored: a scored run.
        judge: what `check` gives.
        chosen: the number of structure images and of appearance images of each modality.

    Returns:
        The content of disentanglement.json. `steps` is the scored iteration, and `judge` names the recogniser. Of drawn
        people: what `counterfactuals` gives by block, `probes` by code and factor, `dci`, and `table_1`. Of real
        images: `recogniser` by block, and the `probes` of what is labelled.
    """
    run, source, rows = scored.run, scored.source, scored.benchmark.rows
    stage, state = run.stages[run.last], run.states[run.last]
    swap = swapper(stage, state, source)
    if judge is None:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:PROBED])
        images, records = source.read(rows), source.records.select(rows)
        codes = _codes(run, images) | {"feature": run.features(images, records.modality)}
        teacher = run.config[run.last].get("teacher") or run.last
        blocks = found_by_recogniser(source, scored.benchmark.rows, swap, _features_of(run, teacher), count=chosen)
        result = {"judge": f"its own stage {teacher}", **blocks}
        result["probes"] = probes(codes, label_factors(records), records.person_id)
    else:
        drawn = open_drawn(run.config.data_dir)
        recogniser = _resizing(judge)
        swaps = counterfactuals(drawn, source, rows, swap, recogniser, structures=chosen, appearances=chosen)
        result = {"judge": judge.name, **swaps}
        images, records, factors = new_people(drawn, NEW_PEOPLE, source.image_size)
        codes = _codes(run, images) | {"feature": run.features(images, records.modality)}
        result["probes"] = probes(codes, factors, records.person_id)
        result["dci"] = dci({code: codes[code] for code in ("a", "s")}, independent(factors), records.person_id)
        result["table_1"] = table_1(result["probes"])
    result["steps"] = scored.scores["steps"]
    return result


def write(scored: Scored, measured: dict) -> None:
    """Writes `disentanglement.json` next to the scores.

    Raises:
        UserError: if it cannot be written.
    """
    write_json(scored.folder / FILE, measured, way_out(scored.run))


def kept(scored: Scored) -> dict | None:
    """Reads an earlier measurement of the scored iteration; None if there is none that can be read.

    Scoring does not need it: that it is damaged is printed on stderr.
    """
    path = scored.folder / FILE
    again = f"the report is without it; eval.py --workdir {scored.run.folder} --disentanglement measures it again."
    try:
        result = read_json(path, again) if path.is_file() else {}
    except UserError as error:
        print(error, file=sys.stderr)
        return None
    return result if result.get("steps") == scored.scores["steps"] else None


def _codes(run: Run, images: UInt8[np.ndarray, "n height width 3"]) -> dict[str, Float[np.ndarray, "n _"]]:
    """Computes the codes of images by name: `a`; `s`, and two smaller forms of it if it is a map."""
    stage, state = run.stages[run.last], run.states[run.last]

    @jax.jit
    def codes(images):
        a, s = stage.codes(state, augment.normalise(images))
        pooled = part_max_pool(s, a.shape[1]) if s.ndim == MAP else s
        return a.reshape(len(a), -1), s, pooled.reshape(len(s), -1)

    places = [
        np.resize(np.arange(start, min(start + BATCH, len(images))), BATCH) for start in range(0, len(images), BATCH)
    ]
    batches = zip(*(codes(images[batch]) for batch in places), strict=True)
    a, s, pooled = (np.concatenate([np.asarray(part) for part in parts])[: len(images)] for parts in batches)
    if s.ndim != MAP:
        return {"a": a, "s": pooled}
    return {"a": a, "s": position_means(s, 16, 8), "s_parts": position_means(s), "s_pooled": pooled}


def _features_of(run: Run, name: str) -> Recogniser:
    """Makes a recogniser of one stage of a run."""
    extract = extractor((run.stages[name],))
    return lambda images, modality: extract((run.states[name],), images.__getitem__, modality)


def _resizing(judge: Run) -> Recogniser:
    """Makes a recogniser of the judge that first resizes images to the size it was trained on."""
    height, width = judge.facts.image_size

    def features(images, modality):
        if images.shape[1:3] != (height, width):
            images = np.stack([np.asarray(Image.fromarray(image).resize((width, height))) for image in images])
        return judge.features(images, modality)

    return features
