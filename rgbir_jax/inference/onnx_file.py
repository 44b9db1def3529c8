"""Programs as ONNX, by jax2onnx. Each file is run once by ONNX Runtime and compared before it is written."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float

from rgbir_jax.errors import UserError
from rgbir_jax.inference.programs import Program

OPSET = 23  # version of ONNX's operators
TOLERANCE = 1e-4  # largest difference between the results of ONNX Runtime and of JAX


def to_onnx(program: Program) -> tuple[bytes, float]:
    """Converts a program; the extra `onnx` must be installed.

    Args:
        program: the program, float32 inside: ONNX Runtime has no bfloat16 convolutions on CPUs.

    Returns:
        The content of the file, and the largest difference of its results for three images of noise from JAX's.

    Raises:
        UserError: if the program has an operation that cannot be converted, or the difference exceeds `TOLERANCE`.
    """
    from jax2onnx import to_onnx as convert  # pyright: ignore[reportMissingImports]

    specs = list(program.inputs.values())
    with _pooling_of_three_axes():
        # jax2onnx replaces some functions of Flax by its own, which know fewer arguments. A traced program has none.
        traced = jaxpr_as_fun(jax.make_jaxpr(program.function)(*specs))
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of constants without a type, which are inlined
    try:
        model = convert(
            lambda *inputs: traced(*inputs)[0],
            specs,
            model_name=program.name,
            opset=OPSET,
            input_names=list(program.inputs),
            output_names=[program.name],
        )
    except Exception as error:  # an operation of the user's own network can raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(f"jax2onnx cannot convert this run ({reason}); export it with --format jax.") from error
    content = model.SerializeToString()
    difference = _difference(content, program)
    if not difference <= TOLERANCE:
        raise UserError(
            f"the {program.name} that ONNX Runtime computes differ from the run's by {difference:.1e}, so no ONNX file "
            f"is written; export it with --format jax."
        )
    return content, difference


@contextmanager
def _pooling_of_three_axes() -> Iterator[None]:
    """Traces `nn.max_pool` as pooling of [n*c, h, w]: jax2onnx pools all axes, and ONNX Runtime at most three."""

    def max_pool(
        x: Float[Array, "n h w c"],
        window_shape: Sequence[int],
        strides: Sequence[int] | None = None,
        padding: str | Sequence[tuple[int, int]] = "VALID",
    ) -> Float[Array, "n H W c"]:
        flat = x.transpose(0, 3, 1, 2).reshape(-1, *x.shape[1:3])
        around = padding if isinstance(padding, str) else ((0, 0), *padding)
        flat = jax.lax.reduce_window(flat, -jnp.inf, jax.lax.max, (1, *window_shape), (1, *(strides or (1, 1))), around)
        return flat.reshape(-1, x.shape[3], *flat.shape[1:]).transpose(0, 2, 3, 1)

    with mock.patch.object(nn, "max_pool", max_pool):
        yield


def _difference(content: bytes, program: Program) -> float:
    """Returns the largest difference between the results of ONNX Runtime and of JAX for three images of noise."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    generator = np.random.default_rng(0)
    inputs = {
        name: generator.integers(0, 256 if spec.dtype == jnp.uint8 else 2, (3, *spec.shape[1:])).astype(spec.dtype)
        for name, spec in program.inputs.items()
    }
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    ours = np.asarray(session.run(None, inputs)[0])
    return float(np.abs(ours - np.asarray(jax.jit(program.function)(*inputs.values()))).max())
