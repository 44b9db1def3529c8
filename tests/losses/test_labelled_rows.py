"""Losses of rows with labels, as AGW and CAJ use them: values computed by hand, plain loops, and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses import ranking

THREE = [[0, 0], [3, 0], [0, 4], [3, 4]]  # two of each identity at distance 3, the others at 4 and 5
FOUR = [[0, 0], [4, 0], [0, 3], [4, 3]]  # at distance 4, the others at 3 and 5
PAIRS = [0, 0, 1, 1]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@partial(jax.jit, static_argnames=("loss", "epsilon"))
def losses_of(loss, x, y, others, y_others, epsilon):
    return loss(x, y, others, y_others, epsilon)


@partial(jax.jit, static_argnames=("loss", "epsilon"))
def value_and_gradient(loss, x, y, epsilon):
    """Returns the mean loss of a batch whose rows are all anchors, and its gradient."""
    return jax.value_and_grad(lambda x: jnp.mean(loss(x, y, x, y, epsilon)))(x)


def mean_over_batch(loss, x, y, epsilon):
    return float(value_and_gradient(loss, jnp.asarray(x, float), jnp.asarray(y), epsilon)[0])


def test_batch_hard_triplets_across_modalities_and_within_the_batch():
    """Every anchor has its farthest positive at √5 and its nearest negative at 1."""
    v, t = jnp.array([[0.0, 0], [2, 0], [1, 1], [3, 1]]), jnp.array([[0.0, 1], [2, 1], [1, 0], [3, 0]])
    y = jnp.array(PAIRS)
    both, labels = jnp.concatenate([v, t]), jnp.concatenate([y, y])
    for anchors, own, others, theirs in ((v, y, t, y), (t, y, v, y), (both, labels, both, labels)):
        losses = losses_of(ranking.batch_hard_triplet, anchors, own, others, theirs, 0.3)
        np.testing.assert_allclose(losses, 0.3 + np.sqrt(5) - 1)
    assert np.mean(losses) == pytest.approx(1.536068, abs=1e-6)


def batch_hard_by_loops(x, y, others, y_others, margin):
    losses = []
    for anchor, label in zip(x, y, strict=True):
        distances = [np.sqrt(np.sum((anchor - other) ** 2)) for other in others]
        own = max(d for d, other in zip(distances, y_others, strict=True) if other == label)
        strange = min(d for d, other in zip(distances, y_others, strict=True) if other != label)
        losses.append(max(0.0, margin + own - strange))
    return np.mean(losses)


@pytest.mark.parametrize("margin", [0.3, 1.4])  # cmPIG's and cmGAN's
def test_batch_hard_triplets_and_their_gradient_are_those_of_plain_loops(margin):
    rng = np.random.default_rng(2)
    x, others, y = rng.normal(size=(6, 3)), rng.normal(size=(8, 3)), np.array([0, 0, 1, 1, 2, 2])
    y_others = np.array([0, 0, 1, 1, 2, 2, 2, 0])

    @jax.jit
    def loss(x, others):
        labels = jnp.asarray(y), jnp.asarray(y_others)
        return jnp.mean(ranking.batch_hard_triplet(x, labels[0], others, labels[1], margin))

    assert loss(x, others) == pytest.approx(batch_hard_by_loops(x, y, others, y_others, margin), rel=1e-12)
    gradients, step = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, others), 1e-6
    for which, array in enumerate((x, others)):
        for place in np.ndindex(array.shape):
            up, down = [x.copy(), others.copy()], [x.copy(), others.copy()]
            up[which][place] += step
            down[which][place] -= step
            rise = batch_hard_by_loops(up[0], y, up[1], y_others, margin)
            slope = (rise - batch_hard_by_loops(down[0], y, down[1], y_others, margin)) / (2 * step)
            assert gradients[which][place] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize(
    ("loss", "points", "scale", "epsilon", "value"),
    [
        (ranking.weighted_regularised, THREE, 1, 0.0, 0.218208),
        (ranking.weighted_regularised, THREE, 1, 1e-6, 0.218241),
        (ranking.weighted_regularised, THREE, 10, 0.0, 0.000045),
        (ranking.weighted_regularised, THREE, 10, 1e-6, 30.0),
        (ranking.weighted_regularised, FOUR, 1, 0.0, 1.096282),
        (ranking.weighted_regularised, FOUR, 1, 1e-6, 1.096317),
        (ranking.squared_difference, THREE, 1, 0.0, 0.127940),
        (ranking.squared_difference, THREE, 1, 1e-6, 0.127997),
        (ranking.squared_difference, FOUR, 1, 0.0, 0.958969),
        (ranking.squared_difference, FOUR, 1, 1e-6, 0.959015),
        (ranking.squared_difference, THREE, 10, 1e-6, 88.0),
    ],
)
def test_weighted_losses_computed_by_hand(loss, points, scale, epsilon, value):
    points = scale * np.array(points, float)
    assert mean_over_batch(loss, points, PAIRS, epsilon) == pytest.approx(value, abs=1e-6 if value < 2 else 1e-4)


def slow_distances(x, y, epsilon):
    """Computes (f, c) of each row of a batch with plain loops and the definition of a softmax."""
    farthest, nearest = [], []
    for i in range(len(x)):
        distances = [np.sqrt(((x[i] - x[j]) ** 2).sum()) for j in range(len(x))]
        own = [d for j, d in enumerate(distances) if y[j] == y[i]]
        others = [d for j, d in enumerate(distances) if y[j] != y[i]]
        of_own, of_others = [np.exp(d - max(own)) for d in own], [np.exp(-d) for d in others]
        farthest.append(np.dot(of_own, own) / (sum(of_own) + epsilon))
        nearest.append(np.dot(of_others, others) / (sum(of_others) + epsilon))
    return np.array(farthest), np.array(nearest)


def slow_weighted_regularised(x, y, epsilon):
    farthest, nearest = slow_distances(x, y, epsilon)
    return np.mean([np.log(1 + np.exp(f - c)) for f, c in zip(farthest, nearest, strict=True)])


def slow_squared_difference(x, y, epsilon):
    losses = []
    for f, c in zip(*slow_distances(x, y, epsilon), strict=True):
        q = min((f - c) ** 2, 88)
        losses.append(np.log(1 + np.exp(-q if c >= f else q)))
    return np.mean(losses)


SLOW = {
    ranking.weighted_regularised: slow_weighted_regularised,
    ranking.squared_difference: slow_squared_difference,
}


@pytest.mark.parametrize("loss", SLOW)
@pytest.mark.parametrize(("epsilon", "scale"), [(0.0, 1.0), (0.01, 3.0)])
def test_weighted_losses_and_their_gradients_are_those_of_plain_loops(loss, epsilon, scale):
    generator = np.random.default_rng(3)
    x, y = scale * generator.normal(size=(9, 4)), np.array([2, 0, 1, 1, 2, 0, 0, 2, 2])
    value, gradient = value_and_gradient(loss, jnp.asarray(x), jnp.asarray(y), epsilon)
    assert value == pytest.approx(SLOW[loss](x, y, epsilon), rel=1e-12)
    step = 1e-6
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        slope = (SLOW[loss](up, y, epsilon) - SLOW[loss](down, y, epsilon)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-7)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("loss", SLOW)
def test_anchors_of_one_device_see_the_whole_batch(loss):
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3))), jnp.array([0, 1, 2, 0, 1, 2])
    whole = losses_of(loss, x, y, x, y, 1e-6)
    parts = [losses_of(loss, x[rows], y[rows], x, y, 1e-6) for rows in (slice(2), slice(2, 6))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12)


@pytest.mark.parametrize("loss", SLOW)
@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
@pytest.mark.parametrize("x", [np.ones((4, 4)), 1e4 * np.eye(4)])
def test_gradients_are_finite_where_rows_coincide_or_are_far_apart(loss, epsilon, x):
    y = jnp.array(PAIRS)
    with jax.enable_x64(False):
        value, gradient = value_and_gradient(loss, jnp.asarray(x, jnp.float32), y, epsilon)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_large_violation_has_no_gradient():
    """A published feature of L_esd: above √88 = 9.38 the square is cut."""
    y = jnp.array(PAIRS)
    near, far = (jnp.array([[0.0, 0], [side, 0], [0, 1], [side, 1]]) for side in (10.0, 11.0))
    gradients = [value_and_gradient(ranking.squared_difference, x, y, 0.0)[1] for x in (near, far)]
    assert np.abs(gradients[0]).max() > 1
    np.testing.assert_array_equal(gradients[1], 0)


def test_losses_do_not_depend_on_the_order_of_the_batch():
    generator = np.random.default_rng(1)
    x, y, order = generator.normal(size=(8, 3)), np.repeat(np.arange(4), 2), generator.permutation(8)
    for loss in SLOW:
        whole = mean_over_batch(loss, x, y, 1e-6)
        assert mean_over_batch(loss, x[order], y[order], 1e-6) == pytest.approx(whole, rel=1e-12)
