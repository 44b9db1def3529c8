"""One iteration of a game: judges learn from generated images, then all other networks against the new judges."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PyTree

from rgbir_jax.training import parallel
from rgbir_jax.training.optimizers import Optimizers, gradient_norms

Params = dict[str, PyTree]  # by network name


class Played(NamedTuple):
    """What an iteration leaves.

    Attributes:
        params: the parameters of all networks.
        opt_state: the optimiser states.
        judged: what `judge` gave besides its loss.
        made: what `make` gave besides its loss.
        norms: the norms of all gradients, as metrics.
    """

    params: Params
    opt_state: PyTree
    judged: Any
    made: Any
    norms: dict[str, Float[Array, ""]]


def play(
    generate: Callable[[Params], tuple[PyTree, PyTree]],
    judge: Callable[[Params, PyTree], tuple[Array, Any]],
    make: Callable[[Params, PyTree, PyTree, Params], tuple[Array, Any]],
    judges: tuple[str, ...],
    params: Params,
    opt_state: PyTree,
    optimizers: Optimizers,
) -> Played:
    """Updates the judges on generated images, then the others on the same images, which are generated once.

    Args:
        generate: (parameters of the others) -> (images, constants).
        judge: (parameters of the judges, images) -> (their loss, something to return). The images are constant.
        make: (parameters of the others, images, constants, new parameters of the judges) -> (loss of the others,
            something to return).
        judges: the networks that judge.
        params: the parameters of all networks.
        opt_state: the optimiser states.
        optimizers: the optimisers of all networks.
    """
    others = {network: own for network, own in params.items() if network not in judges}
    images, pull_back, constants = jax.vjp(generate, others, has_aux=True)

    gradients, judged = jax.grad(judge, has_aux=True)({network: params[network] for network in judges}, held(images))
    gradients = parallel.mean(gradients)
    params, opt_state = optimizers.update(gradients, params, opt_state)
    norms = gradient_norms(gradients)

    new = {network: params[network] for network in judges}
    (direct, through), made = jax.grad(make, argnums=(0, 1), has_aux=True)(others, images, constants, new)
    gradients = parallel.mean(jax.tree.map(jnp.add, direct, *pull_back(through)))
    params, opt_state = optimizers.update(gradients, params, opt_state)
    return Played(params, opt_state, judged, made, norms | gradient_norms(gradients))


def held(tree: PyTree) -> PyTree:
    """Stops the gradient through all arrays."""
    return jax.tree.map(stop_gradient, tree)
