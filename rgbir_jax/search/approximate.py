"""Search among more vectors than can be compared one by one, with FAISS: IVF-PQ or HNSW.

It proposes candidates. Their order is computed from the vectors themselves.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from rgbir_jax.errors import UserError
from rgbir_jax.files import whole_file
from rgbir_jax.search.store import Vectors

KINDS = ("ivfpq", "hnsw")
SAMPLE = 64  # vectors per list that the lists are trained on
PROBED, LEAST = 1 / 32, 16  # share of the lists that is searched, and their least number
LINKS, WIDTH, SEARCHED = 16, 64, 256  # HNSW: links per vector; candidates while it is built, and while it is searched
AT_A_TIME = 2**16  # vectors that are added at a time


def library() -> Any:
    """Imports FAISS.

    Raises:
        UserError: naming the command that installs it.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as error:
        raise UserError(
            "a large gallery is searched with FAISS, which is not installed: pip install 'rgbir-jax[search]'; or give "
            "rgbir-index --kind exact, which compares all images."
        ) from error


def empty(kind: str, vectors: Vectors) -> Any:
    """Makes an empty FAISS index that suits some vectors; `add` adds them.

    Args:
        kind: one of `KINDS`.
        vectors: unit vectors.
    """
    faiss = library()
    count, dim = len(vectors), vectors.dim
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, LINKS)
        index.hnsw.efConstruction = WIDTH
    else:
        lists = int(2 ** np.floor(np.log2(min(6 * np.sqrt(count), count / SAMPLE))))
        bytes_per_vector = max(size for size in range(1, dim // 4 + 2) if dim % size == 0)
        # np: codes are not made comparable by their bits (polysemous), which takes a second per byte and is not used.
        index = faiss.index_factory(dim, f"IVF{lists},PQ{bytes_per_vector}np")
        index.pq.cp.niter, index.pq.cp.max_points_per_centroid = 10, SAMPLE  # a quarter of the defaults' time or less
        sample = np.random.default_rng(0).permutation(count)[: SAMPLE * lists]
        index.train(vectors[np.sort(sample)])
    return index


def add(index: Any, vectors: Vectors) -> None:
    """Adds the vectors that the index does not have yet."""
    for start in range(index.ntotal, len(vectors), AT_A_TIME):
        index.add(vectors[np.arange(start, min(start + AT_A_TIME, len(vectors)))])


def candidates(index: Any, query: Float32[np.ndarray, "q dim"], count: int) -> Int64[np.ndarray, "q count"]:
    """Returns the numbers of vectors that are probably nearest; -1 for none.

    Args:
        index: what `empty` makes.
        query: unit vectors.
        count: how many per query.
    """
    faiss = library()
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = max(SEARCHED, count)
    else:
        index.nprobe = max(LEAST, int(PROBED * index.nlist))
    return index.search(np.ascontiguousarray(query), min(count, index.ntotal))[1]


def write(index: Any, path: Path) -> None:
    """Writes an index.

    Raises:
        UserError: if the file cannot be written.
    """
    with whole_file(path) as file:
        faiss = library()
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read(path: Path) -> Any:
    """Reads an index.

    Raises:
        RuntimeError: if the file is damaged.
    """
    faiss = library()
    return faiss.read_index(str(path))
