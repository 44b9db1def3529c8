"""Draws a dataset of people in the tree of SYSU-MM01, RegDB, LLCM or Market-1501, or in folders such as one's own.

    python -m rgbir_jax.synthetic --out data/drawn --train 96 --val 16 --test 32 --images 6

The same arguments give the same files. To resume a stopped run, run the same command again. `--exact` takes
identities, cameras and image counts from a real SYSU-MM01's rand_perm_cam.mat and identity lists. `factors.csv`
describes what every picture shows.
"""

import argparse
import hashlib
import os
import sys

from rgbir_jax.errors import UserError
from rgbir_jax.files import writing
from rgbir_jax.synthetic.plan import Plan, exact_plan, folders_plan, llcm_plan, market_plan, regdb_plan, sysu_plan
from rgbir_jax.synthetic.writing import write

# Plans of (train, test, images, seed), by layout.
PLANS = {"regdb": regdb_plan, "llcm": llcm_plan, "market1501": market_plan}
PLANS_WITH_VAL = {"sysu_mm01": sysu_plan, "folders": folders_plan}
REGDB_SIZE = (128, 64)  # RegDB's own


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    options = _parse(argv)
    try:
        plan, arguments = _plan(options)
        size = tuple(options.size)
        with writing(options.out):
            write(plan, options.out, seed=options.seed, size=size, arguments=arguments, workers=options.workers)
    except UserError as error:
        sys.exit(f"rgbir-draw: {error}")
    except KeyboardInterrupt:
        print("rgbir-draw: stopped; run the same command again to resume.", file=sys.stderr)
        sys.exit(130)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "rgbir-draw", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=os.path.expanduser, help="the dataset's folder")
    parser.add_argument("--layout", choices=(*PLANS_WITH_VAL, *PLANS), default="sysu_mm01")
    parser.add_argument("--train", type=int, default=296, help="number of training identities")
    parser.add_argument("--val", type=int, default=99, help="number of validation identities (sysu_mm01, folders)")
    parser.add_argument("--test", type=int, default=96, help="number of test identities")
    parser.add_argument("--images", type=int, default=12, help="number of images per identity and camera, at least 2")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in pixels; 256 128, for regdb 128 64"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--exact", metavar="RAND_PERM", type=os.path.expanduser, help="rand_perm_cam.mat with identities and counts"
    )
    parser.add_argument(
        "--ids", metavar="FOLDER", type=os.path.expanduser, help="folder with train_id, val_id and test_id"
    )
    parser.add_argument("--workers", type=int, default=0, help="number of processes; 0 means one per core")
    options = parser.parse_args(argv)
    options.size = options.size or (REGDB_SIZE if options.layout == "regdb" else (256, 128))
    identities = (options.train, options.val, options.test)
    if min(identities) < 0 or sum(identities) == 0:
        parser.error("--train, --val and --test must not be negative, and at least one of them must be positive.")
    if options.images < 2:
        parser.error("--images must be at least 2.")
    if min(options.size) < 16:
        parser.error("--size must be at least 16 in both directions.")
    if min(options.seed, options.workers) < 0:
        parser.error("--seed and --workers must not be negative.")
    if options.layout != "sysu_mm01" and min(options.train, options.test) == 0:
        parser.error(f"--layout {options.layout} needs at least one identity each for --train and --test.")
    if bool(options.exact) != bool(options.ids) or (options.exact and options.layout != "sysu_mm01"):
        parser.error("--exact and --ids must be used together, with --layout sysu_mm01.")
    return options


def _plan(options: argparse.Namespace) -> tuple[Plan, dict]:
    """Returns the plan, and the arguments that identify it in the dataset's folder."""
    if options.exact:
        plan = exact_plan(options.exact, options.ids)
        contents = b"".join(plan.files[path] for path in sorted(plan.files))
        return plan, {"layout": options.layout, "exact": hashlib.sha256(contents).hexdigest()}
    if options.layout in PLANS:
        plan = PLANS[options.layout](options.train, options.test, options.images, options.seed)
    else:
        plan = PLANS_WITH_VAL[options.layout](options.train, options.val, options.test, options.images, options.seed)
    sizes = {name: getattr(options, name) for name in ("train", "val", "test", "images")}
    return plan, {"layout": options.layout} | sizes


if __name__ == "__main__":
    main()
