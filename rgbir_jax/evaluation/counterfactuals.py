"""Swapped images G(a_j, s_i) against the truth: on drawn people, the picture that a swap should give can be drawn.

The truth of a pair (i, j) shows person j in the pose of image i, before i's camera, in the modality of image j. Only a
part of it is known from the two images: if their modalities differ, neither shows the background in the modality of j,
and no image shows the sides of person j that it hides. So no generator reaches an L1 of 0; the copies tell how much an
error is worth.
"""

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from tqdm import tqdm

from rgbir_jax.data import augment
from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.data.sources import ImageSource
from rgbir_jax.datasets.records import IR, MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.ssim import ssim
from rgbir_jax.synthetic import DrawnDataset
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

NOT_SWAPPED = ("image_i", "image_j", "mean")  # what a swap must be nearer to the truth than

Normalised = Float[np.ndarray, "_ h w 3"]
Pixels = UInt8[np.ndarray, "_ h w 3"]
Rows = Int[np.ndarray, "_"]
Swap = Callable[[Rows, Rows], Normalised]  # rows i and j of a source -> G(a_j, s_i)
Recogniser = Callable[[Pixels, Rows], Float[np.ndarray, "_ d"]]  # images, modality -> unit vectors, as `Run.features`


def swapper(stage: Stage, state: State, source: ImageSource) -> Swap:
    """Returns the function that a stage's `render` makes of rows of a source."""

    @jax.jit
    def render(state, structure, appearance):
        return stage.render(state, augment.normalise(structure), augment.normalise(appearance))

    return lambda i, j: np.asarray(render(state, source.read(i), source.read(j)), np.float32)


def counterfactuals(
    drawn: DrawnDataset,
    source: ImageSource,
    rows: Rows,
    swap: Swap,
    recogniser: Recogniser,
    *,
    structures: int = 24,
    appearances: int = 24,
    seed: int = 0,
) -> dict[str, dict]:
    """Compares swapped images with the drawn truth, for pairs (i, j) of images that show different persons.

    A block has the modality of the structure image i and then that of the appearance image j: `rgb_rgb`, `ir_ir`,
    `rgb_ir`, `ir_rgb`. A block without pairs is left out.

    Args:
        drawn: the dataset.
        source: its images.
        rows: the rows of the images to choose from, usually the test images; their persons are the gallery.
        swap: the generator.
        recogniser: a recogniser that was trained on other persons.
        structures: the number of images i of each modality, of different persons as far as possible.
        appearances: the same of images j.
        seed: the seed of the choice, not negative.

    Returns:
        By block:
        `l1`, `l1_person` and `ssim`, each by what is compared with the truth: `swap`; the copies `image_i` and
            `image_j`; `mean`, the mean of all images of `rows` that have the modality of j. `reconstruction` compares
            G(a_i, s_i) with image i. L1 is that of normalised images; `l1_person` is that of the pixels at which person
            i is visible in image i or person j in the truth. Most other pixels are background, which a copy of image i
            has right if the modalities are the same.
        `margin`: by `l1`, `l1_person` and `ssim`, how much nearer to the truth a swap is than `image_i`,
            `image_j` and `mean`: the mean difference of the pairs, positive if the swap is better.
        `recogniser`: `rank1_j` and `rank1_i`, the shares of swaps that are nearest to person j and to person i;
            `rank_j` and `rank_i`, their mean ranks, from 1; `chance` of a random ranking to have j first. The gallery
            of a pair shows every person of `rows` in the pose of i, before i's camera, in the modality of j.
            `image_i`, `image_j` and `reconstruction` (of i) have the same figures of these images in place of the swap.
        `standard_error`: the standard errors of all of these, over the choice of structures and appearances.
        `pairs`: the number of pairs.

    Raises:
        UserError: if `rows` show fewer than two persons.
    """
    test = _Test.of(drawn, source, rows, swap, recogniser)
    rng = np.random.default_rng(seed)
    chosen = {
        modality: tuple(
            _choose(_of(source, rows, modality), test.person, count, rng) for count in (structures, appearances)
        )
        for modality in np.unique(source.records.modality[rows]).tolist()
    }
    pairs = sorted(
        ((m_i, m_j) for m_i in chosen for m_j in chosen if len(test.persons(chosen[m_i][0], chosen[m_j][1])) > 1),
        key=lambda pair: pair[0] != pair[1],
    )
    with tqdm(total=sum(len(chosen[m_i][0]) for m_i, _ in pairs), desc="swaps", unit="structure", leave=False) as bar:
        return {
            f"{MODALITIES[m_i]}_{MODALITIES[m_j]}": test.block(chosen[m_i][0], chosen[m_j][1], bar.update)
            for m_i, m_j in pairs
        }


def found_by_recogniser(
    source: ImageSource, rows: Rows, swap: Swap, recogniser: Recogniser, *, count: int = 24, seed: int = 0
) -> dict[str, dict]:
    """Asks a recogniser whom swapped images of any dataset show; no truth is needed.

    Args:
        source: the images.
        rows: the rows of the images to choose from, usually the test images.
        swap: the generator.
        recogniser: a recogniser.
        count: the number of structure images and of appearance images of each modality.
        seed: the seed of the choice, not negative.

    Returns:
        By block, as `counterfactuals`: `recogniser` with `rank1_j` and `rank1_i`, the shares of swaps whose nearest
        image, among those of `rows` with the modality of j but i and j themselves, shows person j and person i; and
        `chance`, the mean share of person j's images in this gallery. `pairs` is the number of pairs.

    Raises:
        UserError: if `rows` show fewer than two persons.
    """
    records, rng = source.records, np.random.default_rng(seed)
    person = dict(zip(rows.tolist(), records.person_id[rows].tolist(), strict=True))
    _check_persons(len(set(person.values())))
    blocks = {}
    for m_i, m_j in itertools.product(np.unique(records.modality[rows]).tolist(), repeat=2):
        gallery = _of(source, rows, m_j)
        vectors = recogniser(source.read(gallery), records.modality[gallery])
        chosen = (_choose(of_modality, person, count, rng) for of_modality in (_of(source, rows, m_i), gallery))
        i, j = (both.ravel() for both in np.meshgrid(*chosen, indexing="ij"))
        different = records.person_id[i] != records.person_id[j]
        i, j = i[different], j[different]
        if not len(i):
            continue
        images = np.concatenate(
            [swap(i[part], j[part]) for part in np.array_split(np.arange(len(i)), -(-len(i) // 64))]
        )
        similarity = recogniser(np.asarray(augment.denormalise(images)), records.modality[j]) @ vectors.T
        similarity[(gallery == i[:, None]) | (gallery == j[:, None])] = -np.inf
        nearest = records.person_id[gallery[similarity.argmax(axis=1)]]
        others = (records.person_id[gallery] == records.person_id[j][:, None]).sum(axis=1) - 1
        blocks[f"{MODALITIES[m_i]}_{MODALITIES[m_j]}"] = {
            "recogniser": {
                "rank1_j": float(np.mean(nearest == records.person_id[j])),
                "rank1_i": float(np.mean(nearest == records.person_id[i])),
                "chance": float(np.mean(others / (np.isfinite(similarity).sum(axis=1)))),
            },
            "pairs": len(i),
        }
    return blocks


def _check_persons(count: int) -> None:
    if count < 2:
        raise UserError(f"swaps need two persons, and the images show {count}; add test identities.")


def _of(source: ImageSource, rows: Rows, modality: int) -> Rows:
    return rows[source.records.modality[rows] == modality]


def _choose(rows: Rows, person: Mapping[int, int], count: int, rng: np.random.Generator) -> Rows:
    """Chooses images at random: every person once, then every person twice, and so on."""
    rows = rng.permutation(rows)
    seen = Counter()
    turns = []
    for row in rows.tolist():
        seen[person[row]] += 1
        turns.append(seen[person[row]])
    return rows[np.argsort(turns, kind="stable")[:count]]


def true_drawing(drawn: DrawnDataset, source: ImageSource, i: int, j: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draws what G(a_j, s_i) should show, for two rows of a source."""
    person = drawn.person(str(source.records.path[j]))
    return _drawing(drawn, source, i, person, int(source.records.modality[j]))


def _drawing(
    drawn: DrawnDataset, source: ImageSource, i: int, person: int, modality: int
) -> UInt8[np.ndarray, "h w 3"]:
    content = drawn.counterfactual(str(source.records.path[i]), person, modality == IR)
    return decode(io.BytesIO(content), source.image_size)


class _Seen(NamedTuple):
    """Images and what the recogniser makes of them."""

    x: Normalised
    vector: Float[np.ndarray, "_ d"]

    def only(self, n: int) -> "_Seen":
        """Returns image n as the only one."""
        return _Seen(self.x[[n]], self.vector[[n]])


@dataclass(frozen=True)
class _Test:
    """What all blocks share.

    Attributes:
        drawn, source, rows, swap, recogniser: the arguments of `counterfactuals`.
        person: the person in each image of `rows`, as a place in `people`.
        people: the persons' numbers.
    """

    drawn: DrawnDataset
    source: ImageSource
    rows: Rows
    swap: Swap
    recogniser: Recogniser
    person: dict[int, int]
    people: list[int]

    @classmethod
    def of(cls, drawn: DrawnDataset, source: ImageSource, rows: Rows, swap: Swap, recogniser: Recogniser) -> "_Test":
        number = {row: drawn.person(str(source.records.path[row])) for row in rows.tolist()}
        people = sorted(set(number.values()))
        _check_persons(len(people))
        place = {person: place for place, person in enumerate(people)}
        return cls(drawn, source, rows, swap, recogniser, {row: place[number[row]] for row in number}, people)

    def persons(self, *rows: Rows) -> set[int]:
        """Returns the places of all persons that rows show."""
        return {self.person[row] for row in np.concatenate(rows).tolist()}

    def truths(self, i: int, modality: int) -> Pixels:
        """Draws all persons in the pose of image i, before its camera, as the source would decode them."""
        return np.stack(
            list(in_threads(lambda person: _drawing(self.drawn, self.source, i, person, modality), self.people))
        )

    def silhouettes(self, i: int, people: Iterable[int]) -> Float[np.ndarray, "_ h w 1"]:
        """Returns the shares of each pixel at which persons, given by their places in `people`, are visible."""
        path = str(self.source.records.path[i])
        height, width = self.source.image_size

        def share(person: int):
            mask = Image.fromarray(255 * self.drawn.silhouette(path, self.people[person]).view(np.uint8))
            return np.asarray(mask.resize((width, height), Image.Resampling.BOX), np.float32)[..., None] / 255

        return np.stack(list(in_threads(share, people)))

    def mean_image(self, modality: int) -> Normalised:
        """Returns the mean of the images of a modality, as one image."""
        rows = _of(self.source, self.rows, modality)
        batches = np.array_split(rows, -(-len(rows) // 256))
        total = sum(
            np.asarray(augment.normalise(self.source.read(batch))).sum(axis=0, dtype=np.float64) for batch in batches
        )
        return np.asarray(total / len(rows), np.float32)[None]

    def block(self, structures: Rows, appearances: Rows, progress: Callable[[], object]) -> dict:
        """Compares all pairs of structures of one modality and appearances of one modality."""
        images_i, images_j = (self.see(self.source.read(rows), rows) for rows in (structures, appearances))
        rebuilt = self.see(self.swap(structures, structures), structures)
        person_i, person_j = ([self.person[row] for row in rows.tolist()] for rows in (structures, appearances))
        modality = int(self.source.records.modality[appearances[0]])
        mean = self.mean_image(modality)
        of_structure = []
        for n, i in enumerate(structures.tolist()):
            truths = self.truths(i, modality)
            gallery = self.see(truths, np.resize(appearances, len(truths)))
            truth = gallery.x[person_j]
            swapped = self.see(self.swap(np.full_like(appearances, i), appearances), appearances)
            image_i, rebuilt_i = images_i.only(n), rebuilt.only(n)
            person = np.maximum(self.silhouettes(i, person_j), self.silhouettes(i, [person_i[n]]))
            compared = {"swap": (swapped.x, truth), "reconstruction": (rebuilt_i.x, image_i.x)}
            compared |= {"image_i": (image_i.x, truth), "image_j": (images_j.x, truth), "mean": (mean, truth)}
            copies = {"image_i": image_i, "image_j": images_j, "reconstruction": rebuilt_i}
            ranks = {
                name: _ranks(images.vector, gallery.vector, person_i[n], person_j)
                for name, images in ({"swap": swapped} | copies).items()
            }
            errors = {
                measure: {name: _l1(*pair, weight) for name, pair in compared.items()}
                for measure, weight in (("l1", np.ones_like(person)), ("l1_person", person))
            }
            similarity = {name: _ssim(*pair, len(truth)) for name, pair in compared.items()}
            of_structure.append(
                {
                    **errors,
                    "ssim": similarity,
                    "margin": {
                        measure: {name: error[name] - error["swap"] for name in NOT_SWAPPED}
                        for measure, error in errors.items()
                    }
                    | {"ssim": {name: similarity["swap"] - similarity[name] for name in NOT_SWAPPED}},
                    "recogniser": ranks.pop("swap") | ranks,
                }
            )
            progress()
        different = np.not_equal.outer(person_i, person_j)
        pairs = jax.tree.map(lambda *values: np.stack(values), *of_structure)
        scores = jax.tree.map(lambda values: float(values[different].mean()), pairs)
        scores["recogniser"]["chance"] = 1 / len(self.people)
        error = jax.tree.map(lambda values: _standard_error(values, different), pairs)
        return scores | {"standard_error": error, "pairs": int(different.sum())}

    def see(self, images: Pixels | Normalised, rows: Rows) -> "_Seen":
        """Shows images, uint8 or normalised, to the recogniser as images of the modality of some rows."""
        drawn = images.dtype == np.uint8
        x, pixels = (augment.normalise(images), images) if drawn else (images, augment.denormalise(images))
        return _Seen(np.asarray(x), self.recogniser(np.asarray(pixels), self.source.records.modality[rows]))


def _l1(x: Normalised, y: Normalised, weight: Float[np.ndarray, "pairs h w 1"]) -> Float[np.ndarray, "pairs"]:
    """Returns the weighted mean absolute difference of each pair; a single image belongs to all pairs."""
    difference = np.abs(x - y).mean(axis=3, keepdims=True)
    return (weight * difference).sum(axis=(1, 2, 3)) / weight.sum(axis=(1, 2, 3))


def _ssim(x: Normalised, y: Normalised, pairs: int) -> Float[np.ndarray, "_"]:
    """Returns the SSIM of each pair; a single image belongs to all pairs."""
    x, y = (np.clip(image * augment.STD + augment.MEAN, 0, 1) for image in (x, y))
    return np.broadcast_to(ssim(*np.broadcast_arrays(x, y)), pairs)


def _ranks(
    query: Float[np.ndarray, "_ d"], gallery: Float[np.ndarray, "_ d"], person_i: int, person_j: list[int]
) -> dict[str, Float[np.ndarray, "_"]]:
    """Ranks the gallery for the query of each pair; a single query belongs to all pairs. Ties count by their mean."""
    similarity = np.broadcast_to(query @ gallery.T, (len(person_j), len(gallery)))
    first = similarity == similarity.max(axis=1, keepdims=True)
    share = first / first.sum(axis=1, keepdims=True)
    pairs = np.arange(len(person_j))

    def rank(own):
        nearer, as_near = similarity > own[:, None], similarity == own[:, None]
        return nearer.sum(axis=1) + (1 + as_near.sum(axis=1)) / 2

    return {
        "rank1_j": share[pairs, person_j],
        "rank1_i": share[:, person_i],
        "rank_j": rank(similarity[pairs, person_j]),
        "rank_i": rank(similarity[:, person_i]),
    }


def _standard_error(
    values: Float[np.ndarray, "structures appearances"], counted: Bool[np.ndarray, "structures appearances"]
) -> float:
    """Returns the standard error of the mean of the counted pairs.

    Pairs that share a structure or an appearance are not independent: the error is that of clusters in both directions
    (Cameron, Gelbach and Miller, 2011).
    """
    residual = np.where(counted, values - values[counted].mean(), 0)
    square = (residual.sum(axis=1) ** 2).sum() + (residual.sum(axis=0) ** 2).sum() - (residual**2).sum()
    return float(np.sqrt(max(square, 0)) / counted.sum())
