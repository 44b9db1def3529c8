"""Scores features on SYSU-MM01.

`python eval.py --features F.npz --rand_perm rand_perm_cam.mat --test_ids test_id.mat`

The .npz file, of any system, has `feature` float [images, size], `person_id` (or `pid`), `camera` (or `cam`)
and `index`, the image's number from 1 within person and camera.
"""

from absl import flags

from rgbir_jax import command_line

FEATURES = flags.DEFINE_string("features", None, "Features to score, an .npz file.")
RAND_PERM = flags.DEFINE_string(
    "rand_perm", None, "SYSU-MM01's rand_perm_cam.mat, which draws the galleries."
)
TEST_IDS = flags.DEFINE_string(
    "test_ids", None, "Test identities, .mat or text; all in the file if not given."
)
PROTOCOL = flags.DEFINE_enum("protocol", "official", ["official", "agw", "paper"], "Protocol to score under.")
JSON = flags.DEFINE_string("json", None, "File to write the scores to.")


def main() -> None:
    """Scores and prints the table."""
    if FEATURES.value is None:
        raise ValueError("Nothing to score: --features names an .npz file.")
    from rgbir_jax.evaluation import feature_file

    print(
        feature_file.score_feature_file(
            FEATURES.value, RAND_PERM.value, TEST_IDS.value, PROTOCOL.value, JSON.value
        )
    )


if __name__ == "__main__":
    command_line.run(main)
