import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.training import parallel
from rgbir_jax.training.state import State, first_not_finite


def _state(**changes) -> State:
    state = State(
        step=jnp.int32(3),
        params={"E_a": {"trunk": {"conv1": {"kernel": jnp.ones((3, 3, 2, 4))}}}, "head": {"bias": np.ones(5)}},
        batch_stats={"E_a": {"var": jnp.ones(4, jnp.bfloat16)}},
        opt_state={"trunk": (jnp.int32(0), {"E_a": jnp.ones((2, 2))})},
        frozen={"teacher": {"mask": jnp.array([True]), "count": np.uint8([255]), "key": jax.random.key(0)}},
    )
    return state.replace(**changes)


def test_a_finite_state_of_any_types():
    assert first_not_finite(_state()) is None
    assert first_not_finite(parallel.replicate(_state())) is None
    assert first_not_finite({}) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_leaf_is_named(value):
    kernel = jnp.ones((3, 3, 2, 4)).at[2, 0, 1, 3].set(value)
    broken = _state(params={"E_a": {"trunk": {"conv1": {"kernel": kernel}}}, "head": {"bias": np.full(5, value)}})
    assert first_not_finite(broken) == "params/E_a/trunk/conv1/kernel"
    assert first_not_finite(parallel.replicate(broken)) == "params/E_a/trunk/conv1/kernel"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch_stats": {"E_a": {"var": jnp.full(4, jnp.inf, jnp.bfloat16)}}}, "batch_stats/E_a/var"),
        ({"opt_state": {"trunk": (jnp.int32(0), {"E_a": jnp.full((2, 2), jnp.nan)})}}, "opt_state/trunk/1/E_a"),
        ({"frozen": {"teacher": {"params": np.float32([1, np.nan])}}}, "frozen/teacher/params"),
    ],
)
def test_every_part_of_the_state_is_checked(changes, name):
    assert first_not_finite(_state(**changes)) == name


def test_large_numbers_are_finite():
    """Their sum or their square would overflow."""
    assert first_not_finite({"w": jnp.full(10, 3e38), "b": jnp.full(10, 1e-45)}) is None
