"""Do activation maps point at the pixels on which the similarity of a pair depends? They are compared with occlusion.

    python -m benchmarks.activation_maps

Every query is an infrared drawing of a person whom the model `drawn` has never seen; its pair is the nearest of RGB
drawings, one per person. A square patch of the mean colour is moved over one image of the pair. The occlusion map is
by how much the cosine similarity falls, averaged over the patches that cover a pixel. The agreement of an activation
map with it is their correlation over the pixels (0 for an empty map). It is compared with the mean agreement of the
maps of all other pairs, which have what all maps have in common, such as the middle of the image. `--json FILE` writes
the figures.
"""

import argparse

import numpy as np
from PIL import Image

import rgbir_jax
from benchmarks.machine import keep, machine, versions
from rgbir_jax.data.augment import MEAN
from rgbir_jax.synthetic import SYSU_CAMERAS, Identity, Pose, draw

RGB_CAMERAS, IR_CAMERAS = ([camera for camera in SYSU_CAMERAS if camera.infrared == kind] for kind in (False, True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=96, help="Number of pairs.")
    parser.add_argument("--patch", type=int, default=16, help="Side of the patch in pixels.")
    parser.add_argument("--step", type=int, default=4, help="Pixels by which the patch is moved.")
    parser.add_argument("--run", default="drawn", help="A run on drawn people; by default the included model.")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    figures = measure(rgbir_jax.load(arguments.run), arguments.people, arguments.patch, arguments.step)
    print("| map of | own | other pairs' | difference | own is better | empty |\n|---|---|---|---|---|---|")
    for side, row in figures.items():
        print(
            f"| {side} | {row['own']:.3f} ± {row['own_std']:.3f} | {row['others']:.3f} | "
            f"{row['difference']:.3f} ± {row['difference_error']:.3f} | {row['better']:.0%} | {row['empty']} |"
        )
    print("Own: mean ± standard deviation over the pairs. Difference: mean ± its standard error.")
    environment = {"machine": machine(), "versions": versions("numpy", "jax", "jaxlib", "flax")}
    keep(arguments.json, environment | vars(arguments) | {"rows": figures})


def measure(run, people, patch, step):
    """Returns by side, `query` and `gallery`, how well the maps agree with occlusion."""
    images, modality = drawn_pairs(run, people)
    maps = run.explain(*images, *modality)
    features = [run.features(*side) for side in zip(images, modality, strict=True)]
    figures = {}
    for side, name in enumerate(maps._fields):
        occluded = occlusion_maps(run, images[side], modality[side], features[1 - side], patch, step)
        figures[name] = summary(agreement(maps[side], occluded)) | {"empty": int(np.sum(maps[side].max((1, 2)) == 0))}
    return figures


def drawn_pairs(run, people):
    """Draws people; returns (queries, their nearest gallery images) and the modalities of both."""
    height, width = run.facts.image_size
    identities = [Identity.random(np.random.default_rng([7, person])) for person in range(people)]

    def pictures(cameras, first_moment):
        drawings = []
        for person, identity in enumerate(identities):
            moment = first_moment + person
            pose = Pose.random(np.random.default_rng([8, moment]))
            image = Image.fromarray(draw(identity, pose, cameras[person % len(cameras)], seed=moment))
            drawings.append(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)))
        return np.stack(drawings)

    queries, gallery = pictures(IR_CAMERAS, 0), pictures(RGB_CAMERAS, 1000)
    modality = np.ones(people, np.int32), np.zeros(people, np.int32)
    nearest = np.argmax(run.features(queries, modality[0]) @ run.features(gallery, modality[1]).T, axis=1)
    return (queries, gallery[nearest]), modality


def occlusion_maps(run, images, modality, others, patch, step):
    """Computes by how much the similarity to other features falls if a patch covers a pixel: [n, height, width]."""
    n, height, width = images.shape[:3]
    before = np.sum(run.features(images, modality) * others, axis=1)
    total, count = np.zeros((n, height, width)), np.zeros((height, width))
    for top in range(step - patch, height, step):
        for left in range(step - patch, width, step):
            covered = slice(max(top, 0), top + patch), slice(max(left, 0), left + patch)
            patched = images.copy()
            patched[:, *covered] = np.round(255 * MEAN)
            fall = before - np.sum(run.features(patched, modality) * others, axis=1)
            total[:, *covered] += fall[:, None, None]
            count[covered] += 1
    return total / count


def agreement(maps, occluded):
    """Correlates maps with occlusion maps over the pixels: [pair of the occlusion, pair of the map]; 0 if empty."""

    def standardised(images):
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)

    return standardised(occluded) @ standardised(maps).T


def summary(correlation):
    """Compares the agreement of each pair's own map with the mean of the others'."""
    own = np.diag(correlation)
    others = (correlation.sum(axis=1) - own) / (len(own) - 1)
    difference = own - others
    return {
        "own": own.mean(),
        "own_std": own.std(ddof=1),
        "others": others.mean(),
        "difference": difference.mean(),
        "difference_error": difference.std(ddof=1) / np.sqrt(len(own)),
        "better": np.mean(difference > 0),
    }


if __name__ == "__main__":
    main()
