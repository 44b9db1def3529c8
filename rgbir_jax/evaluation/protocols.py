"""Which probes meet which galleries: SYSU-MM01's protocols by name, and Market-1501's single-query protocol.

SYSU-MM01 (IR probes of cameras 3 and 6, RGB galleries of cameras 1, 2, 4, 5, or indoors 1 and 2; ten trials;
a probe of camera 3 does not see camera 2, which stands in the same place; CMC by person):

- `official`: the galleries are drawn by the permutations that come with the dataset, the first one
  (single-shot) or ten (multi-shot) images of each person in each camera.
- `agw`: drawn by Python's `random`, seeded with the trial's number from 0, person by person and in each
  camera by camera: `choice` among the sorted files, as most PyTorch code does. There multi-shot is not
  settled; here it is a `sample` of ten.
- `paper`: like `official`, but the indoor probes are only those of camera 3, and the multi-shot gallery has ten
  images per person over all cameras: one from each camera in turn, in the order of the same permutations. The
  indoor gallery is cameras 1 and 2, and a probe of camera 3 does not see camera 2. So an indoor probe sees only
  half of the drawn gallery, the images of camera 1. It is not counted if its person has none there.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from jaxtyping import Float, Int

from rgbir_jax.data.sysu_lists import PERMUTATIONS_FROM, TRIALS, Permutations
from rgbir_jax.evaluation import metrics
from rgbir_jax.evaluation.metrics import Images

PROTOCOLS = ("official", "agw", "paper")


@dataclass(frozen=True)
class Setting:
    """A search on SYSU-MM01."""

    gallery_cameras: tuple[int, ...]
    shots: int

    def probe_cameras(self, protocol: str) -> tuple[int, ...]:
        """The IR cameras whose images are probes."""
        indoor = self.gallery_cameras == (1, 2)
        return (3,) if protocol == "paper" and indoor else (3, 6)


SETTINGS = {
    "all_single": Setting((1, 2, 4, 5), 1),
    "all_multi": Setting((1, 2, 4, 5), 10),
    "indoor_single": Setting((1, 2), 1),
    "indoor_multi": Setting((1, 2), 10),
}


def evaluate(
    features: Float[np.ndarray, "n d"],
    person_id: Int[np.ndarray, "n"],
    camera: Int[np.ndarray, "n"],
    index: Int[np.ndarray, "n"],
    *,
    protocol: str = "official",
    test_ids: Sequence[int] | Int[np.ndarray, "_"] | None = None,
    permutations: Permutations | None = None,
    settings: Sequence[str] = tuple(SETTINGS),
) -> dict[str, dict]:
    """Scores features on SYSU-MM01, by Euclidean distance.

    Args:
        features: of all images, or of the test identities' alone.
        person_id: of each image.
        camera: of each image, 1..6.
        index: of each image, its number from 1 within person and camera.
        protocol: one of `PROTOCOLS`.
        test_ids: the persons to score; None: all.
        permutations: of `read_permutations`; `agw` does without.
        settings: names in `SETTINGS`.

    Returns:
        For each setting what `metrics.summarise` gives, `gallery_images` of a trial and `probe_images`.

    Raises:
        ValueError: for an unknown protocol, absent permutations, or images that are not those the
            permutations name.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f'The protocol "{protocol}" is unknown; choose one of {", ".join(PROTOCOLS)}.')
    if protocol != "agw" and permutations is None:
        raise ValueError(
            f"The protocol {protocol} needs rand_perm_cam.mat: {PERMUTATIONS_FROM}; the protocol agw needs none."
        )
    people = np.unique(person_id if test_ids is None else np.asarray(test_ids))
    table = _rows_by_person_and_camera(person_id, camera, index, people)
    if permutations is not None and protocol != "agw":
        _check_images(table, index, permutations, people)

    cameras = {c for name in settings for c in SETTINGS[name].gallery_cameras}
    gallery = _rows(table, cameras)
    probe = _rows(table, {3, 6})
    column = np.zeros(len(features), np.int64)
    column[gallery] = np.arange(len(gallery))
    drawn = {
        name: [column[_draw(protocol, SETTINGS[name], trial, table, people, permutations)] for trial in range(TRIALS)]
        for name in settings
    }
    images = Images(features, person_id, camera)
    ranks = iter(metrics.rank(images[probe], images[gallery], [*chain(*drawn.values())], _same_place, "identity"))
    scores = {}
    for name, galleries in drawn.items():
        asked = np.isin(camera[probe], SETTINGS[name].probe_cameras(protocol))
        scores[name] = metrics.summarise([next(ranks).select(asked) for _ in galleries])
        scores[name] |= {"gallery_images": len(galleries[0]), "probe_images": int(asked.sum())}
    return scores


def evaluate_market(
    features: Float[np.ndarray, "n d"],
    person_id: Int[np.ndarray, "n"],
    camera: Int[np.ndarray, "n"],
    split: np.ndarray,
) -> dict[str, dict]:
    """Scores features on Market-1501: single query, CMC over images, AP in both forms of `metrics.AP`.

    Junk (person -1) is removed from the gallery, distractors (person 0) stay. A query does not see its own
    person in its own camera.

    Args:
        features: of all images.
        person_id: of each image.
        camera: of each image.
        split: str [n]; images under `query` are the probes, those under `gallery` the gallery.

    Returns:
        `single_query_trapezoid`, with AP as the dataset's own program computes it, and `single_query_hits`, with
        the usual AP. Both come from one ranking and differ only in mAP. Each has the entries that `evaluate`
        gives, and `AP`, the name of its form.

    Raises:
        ValueError: if no query has a match.
    """
    images = Images(features, person_id, camera)
    probe, gallery = images[split == "query"], images[(split == "gallery") & (person_id != -1)]
    whole = [np.arange(len(gallery))]
    ranks = metrics.rank(probe, gallery, whole, _same_person_and_camera, "image", trapezoid=True)
    forms: tuple[metrics.AP, ...] = ("trapezoid", "hits")
    counts = {"gallery_images": len(gallery), "probe_images": len(probe)}
    return {f"single_query_{ap}": metrics.summarise(ranks, ap) | counts | {"AP": ap} for ap in forms}


# (person_id, camera) -> rows of the features, by image number.
Table = dict[tuple[int, int], np.ndarray]


def _rows_by_person_and_camera(
    person_id: np.ndarray, camera: np.ndarray, index: np.ndarray, people: np.ndarray
) -> Table:
    rows = np.flatnonzero(np.isin(person_id, people))
    rows = rows[np.lexsort((index[rows], camera[rows], person_id[rows]))]
    if not len(rows):
        raise ValueError("None of the test identities has an image here; do the ids belong to these features?")
    edges = np.flatnonzero(np.diff(person_id[rows]) | np.diff(camera[rows])) + 1
    return {(int(person_id[r[0]]), int(camera[r[0]])): r for r in np.split(rows, edges)}


def _rows(table: Table, cameras: set[int]) -> Int[np.ndarray, "n"]:
    return np.concatenate([rows for (_, camera), rows in table.items() if camera in cameras] or [np.zeros(0, np.int64)])


def _check_images(table: Table, index: np.ndarray, permutations: Permutations, people: np.ndarray) -> None:
    """Raises a ValueError unless every person and camera has the images that the permutations name."""
    for person in people.tolist():
        for camera in range(1, 7):
            named = permutations.get((camera, person), np.zeros((TRIALS, 0))).shape[1]
            present = index[table.get((person, camera), np.zeros(0, np.int64))]
            if not np.array_equal(present, np.arange(1, named + 1)):
                raise ValueError(
                    f"Identity {person} has {len(present)} images in camera {camera} here, but "
                    f"rand_perm_cam.mat names the images 1 to {named}; "
                    "score the features of exactly the images it was made for."
                )


def _draw(
    protocol: str,
    setting: Setting,
    trial: int,
    table: Table,
    people: np.ndarray,
    permutations: Permutations | None,
) -> Int[np.ndarray, "n"]:
    """The rows of one trial's gallery."""
    generator = random.Random(trial)
    chosen = []
    for person in people.tolist():
        in_order = []
        for camera in setting.gallery_cameras:
            rows = table.get((person, camera))
            if rows is None:
                continue
            if protocol != "agw":
                assert permutations is not None
                in_order.append(rows[permutations[camera, person][trial] - 1].tolist())
            elif setting.shots == 1:
                in_order.append([generator.choice(rows.tolist())])
            else:
                in_order.append(generator.sample(rows.tolist(), min(setting.shots, len(rows))))
        if protocol == "paper" and setting.shots > 1:
            in_turn = [row for turn in zip_longest(*in_order) for row in turn if row is not None]
            chosen += in_turn[: setting.shots]
        else:
            chosen += [row for rows in in_order for row in rows[: setting.shots]]
    return np.array(chosen, np.int64)


def _same_place(probe: Images, gallery: Images) -> np.ndarray:
    return (probe.camera == 3)[:, None] & (gallery.camera == 2)


def _same_person_and_camera(probe: Images, gallery: Images) -> np.ndarray:
    return (probe.person_id[:, None] == gallery.person_id) & (probe.camera[:, None] == gallery.camera)
