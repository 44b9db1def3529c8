"""Reads MATLAB files (version 5) that hold numbers and cells of numbers, and nothing else.

SciPy's reader trusts the numbers in a file: with changed bytes, one in fifty small files ended the program with a
segmentation fault. Here each length is checked against the bytes that are there.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from rgbir_jax.errors import UserError

HEADER = 128  # bytes before the first element
LARGEST = 1 << 26  # bytes of a variable after decompression; rand_perm_cam.mat has less than a tenth
ELEMENTS = 1 << 20  # in all; rand_perm_cam.mat has 13,000
MATRIX, COMPRESSED = 14, 15  # types of elements
CELL, NUMERIC = 1, range(6, 16)  # classes of arrays
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type


class _Malformed(Exception):
    """Bytes that are no such file."""


def read_variable(path: str | Path, name: str) -> np.ndarray:
    """Reads one variable.

    Args:
        path: the .mat file.
        name: the variable's name.

    Returns:
        The numbers in the type that they are stored in, or for a cell an array of objects, which are such arrays.

    Raises:
        UserError: if the file is no such file or damaged, or if the variable is absent or holds something else.
    """
    content = Path(path).read_bytes()
    try:
        if content[124:128] not in (b"\0\1IM", b"\1\0MI"):
            raise _Malformed
        reader = _Reader("<" if content[126:128] == b"IM" else ">")
        for kind, element in reader.elements(memoryview(content)[HEADER:]):
            variable = reader.whole(element) if kind == COMPRESSED else element
            if kind in (MATRIX, COMPRESSED) and reader.head(variable)[2] == name.encode():
                return reader.array(variable)
        raise _Malformed
    except (_Malformed, zlib.error, struct.error, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a MATLAB file (version 5) with the variable {name}, of numbers or cells of numbers."
        ) from error


class _Reader:
    """Reads elements in one order of bytes, "<" or ">"."""

    def __init__(self, order: str):
        self._order, self._count = order, 0

    def elements(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yields the type and the bytes of each element."""
        place = 0
        while place < len(content):
            kind, size = struct.unpack_from(f"{self._order}II", content, place)
            start, end = place + 8, place + 8 + size
            if kind >> 16:  # both in four bytes, then up to four bytes of data
                kind, size = kind & 0xFFFF, kind >> 16
                start, end = place + 4, place + 4 + size
            padded = end if kind == COMPRESSED else end + -end % 8
            self._count += 1
            if (size > 4 and start == place + 4) or end > len(content) or self._count > ELEMENTS:
                raise _Malformed
            yield kind, content[start:end]
            place = padded

    def whole(self, compressed: memoryview) -> memoryview:
        """Returns the bytes of the matrix that a compressed element has."""
        decompressor = zlib.decompressobj()
        content = decompressor.decompress(compressed, LARGEST)
        if not decompressor.eof:
            raise _Malformed
        ((kind, element),) = self.elements(memoryview(content))
        if kind != MATRIX:
            raise _Malformed
        return element

    def head(self, matrix: memoryview) -> tuple[int, tuple[int, ...], bytes, list[tuple[int, memoryview]]]:
        """Returns class, shape and name of a matrix, and the elements that follow."""
        (_, flags), (_, shape), (_, name), *rest = self.elements(matrix)
        shape = tuple(np.frombuffer(shape, f"{self._order}i4").tolist())
        if len(flags) != 8 or not 2 <= len(shape) <= 8 or min(shape) < 0:
            raise _Malformed
        return struct.unpack_from(f"{self._order}I", flags)[0] & 0xFF, shape, bytes(name), rest

    def array(self, matrix: memoryview) -> np.ndarray:
        """Returns the numbers or the cells of a matrix."""
        if not len(matrix):  # an empty cell
            return np.zeros((0, 0))
        kind, shape, _, rest = self.head(matrix)
        if kind == CELL:
            return self._cell(shape, rest)
        if kind not in NUMERIC or len(rest) != 1 or rest[0][0] not in NUMBERS:
            raise _Malformed
        numbers = np.frombuffer(rest[0][1], self._order + NUMBERS[rest[0][0]])
        return numbers.reshape(shape, order="F")

    def _cell(self, shape: tuple[int, ...], elements: list[tuple[int, memoryview]]) -> np.ndarray:
        if prod(shape) != len(elements) or any(kind != MATRIX for kind, _ in elements):
            raise _Malformed
        cells = np.empty(len(elements), object)
        for place, (_, element) in enumerate(elements):
            cells[place] = self.array(element)
        return cells.reshape(shape, order="F")
