"""Fast compilation, and fixtures that write tiny dataset trees.

A test runs its program only a few times, so most of XLA's optimisations would cost more time than they save.
"""

import ctypes
import os
from pathlib import Path

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # read when JAX is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import jax
import numpy as np
import pytest
from PIL import Image

from rgbir_jax import synthetic

MEMORY = Path("/proc/self/statm")  # of Linux: the second number is the resident memory in pages
MOST_PAGES = 3_000_000_000 // os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def few_compiled_programs():
    """Lets go of compiled programs once they fill the memory: a thousand tests compile several gigabytes of them."""
    yield
    if MEMORY.is_file() and int(MEMORY.read_text().split()[1]) > MOST_PAGES:
        jax.clear_caches()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps freed memory otherwise
            trim(0)


SYSU_CAMERAS = {1: "RGB", 2: "RGB", 3: "IR", 4: "RGB", 5: "RGB", 6: "IR"}


def write_image(path: Path, seed: int, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (9, 5, 3), np.uint8)
    image = Image.fromarray(noise).resize((30, 50), Image.Resampling.BILINEAR)
    image.convert("L" if grey else "RGB").save(path)


def write_sysu(root: Path, splits: dict[str, list[int]], images: int = 3) -> Path:
    """Writes a tree of SYSU-MM01 with `images` different pictures of every identity in every camera."""
    for camera, modality in SYSU_CAMERAS.items():
        for person in (person for people in splits.values() for person in people):
            for index in range(1, images + 1):
                path = root / f"cam{camera}" / f"{person:04d}" / f"{index:04d}.jpg"
                write_image(path, 10_000 * camera + 10 * person + index, grey=modality == "IR")
    (root / "exp").mkdir()
    for split, people in splits.items():
        (root / "exp" / f"{split}_id.txt").write_text(",".join(map(str, people)) + "\n")
    return root


MARKET_NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c1s1_000776_01.jpg", "0002_c2s1_000301_01.jpg"]
    + [f"0007_c{camera}s3_077419_03.jpg" for camera in (1, 3)],
    "query": ["0001_c1s1_001051_00.jpg", "1501_c6s4_001877_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c2s1_000201_00.jpg",
        "1501_c1s6_013395_05.jpg",
    ],
}


@pytest.fixture(scope="session")
def sysu_root(tmp_path_factory) -> Path:
    """Writes a tree of six training, two validation and two test identities, three images in each of six cameras."""
    splits = {"train": [3, 1, 2, 5, 8, 13], "val": [21, 34], "test": [6, 4]}
    return write_sysu(tmp_path_factory.mktemp("trees") / "sysu", splits)


@pytest.fixture(scope="session")
def market_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("trees") / "market"
    for seed, (folder, name) in enumerate((f, n) for f, names in MARKET_NAMES.items() for n in names):
        write_image(root / folder / name, seed)
    (root / "bounding_box_test" / "Thumbs.db").write_bytes(b"not an image")
    return root


@pytest.fixture
def make_sysu(tmp_path):
    """Returns a function that writes a tree for one test, which may damage it."""
    return lambda **splits: write_sysu(tmp_path / "sysu", {"train": [], "val": [], "test": []} | splits, images=2)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """Draws six training, four validation and five test identities in SYSU-MM01's tree, two images per camera."""
    root = tmp_path_factory.mktemp("drawn") / "tree"
    plan = synthetic.sysu_plan(6, 4, 5, 2, 0)
    synthetic.write(plan, root, seed=0, size=(64, 32), arguments={}, workers=1)
    return root
