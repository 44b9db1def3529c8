"""The ranking losses against plain loops, their gradients against finite differences, and cases computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.losses import ranking

IDENTITIES, SHOTS, DIM = 4, 2, 5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def features(seed, identities=IDENTITIES, shots=SHOTS, dim=DIM):
    return np.random.default_rng(seed).normal(size=(2, identities, shots, dim))


def slow_bdtr(v, t, m1=0.5, m2=0.1, weight=0.1):
    """Computes the loss one anchor and one candidate at a time."""
    v, t = (x / np.sqrt((x**2).sum(-1, keepdims=True)) for x in (v, t))
    identities, shots, _ = v.shape
    total = 0.0
    for anchors, others in ((v, t), (t, v)):
        for i in range(identities):
            for k in range(shots):
                nearest, hardest = np.inf, None
                for j in range(identities):
                    for image in range(shots):
                        d = np.sqrt(((anchors[i, k] - others[j, image]) ** 2).sum())
                        if j != i and d < nearest:
                            nearest, hardest = d, others[j, image]
                cross = max(0.0, m1 + np.sqrt(((anchors[i, k] - others[i, k]) ** 2).sum()) - nearest)
                intra = max(0.0, m2 - np.sqrt(((hardest - others[i, k]) ** 2).sum()))
                total += (cross + weight * intra) / (identities * shots)
    return total


def finite_differences(function, x, step=1e-6):
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("m1", "m2"), [(0.5, 0.1), (0.1, 1.5)])
def test_bdtr_and_its_gradient_are_those_of_the_plain_loops(seed, m1, m2):
    v, t = features(seed)
    loss = ranking.bdtr(jnp.asarray(v), jnp.asarray(t), m1=m1, m2=m2, intra=0.1)
    assert loss == pytest.approx(slow_bdtr(v, t, m1, m2), rel=1e-12)
    gradient = jax.grad(lambda x: ranking.bdtr(x[0], x[1], m1=m1, m2=m2, intra=0.1))(jnp.stack([v, t]))
    expected = finite_differences(lambda x: slow_bdtr(x[0], x[1], m1, m2), np.stack([v, t]))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_bdtr_of_four_vectors_computed_by_hand():
    """v_1 = t_1 is orthogonal to v_2 = t_2: every positive is at distance 0, every negative at √2."""
    x = jnp.eye(2)[:, None]
    assert ranking.bdtr(x, x) == 0
    assert ranking.bdtr(x, x, m1=2.0, m2=0.0) == pytest.approx(2 * (2 - np.sqrt(2)), rel=1e-12)
    # With t_1 and t_2 swapped, each positive is at √2 and the hardest negative equals the anchor.
    assert ranking.bdtr(x, x[::-1], m1=0.5, m2=1.5) == pytest.approx(2 * (0.5 + np.sqrt(2)) + 0.2 * (1.5 - np.sqrt(2)))


def test_bdtr_depends_only_on_directions():
    v, t = map(jnp.asarray, features(0))
    length = np.random.default_rng(1).uniform(0.1, 10, size=(2, IDENTITIES, SHOTS, 1))
    assert ranking.bdtr(length[0] * v, length[1] * t) == pytest.approx(float(ranking.bdtr(v, t)), rel=1e-12)


def test_bdtr_is_the_same_for_both_orders_of_modalities_and_any_order_of_identities():
    v, t = map(jnp.asarray, features(2))
    expected = float(ranking.bdtr(v, t))
    order = np.random.default_rng(0).permutation(IDENTITIES)
    assert ranking.bdtr(t, v) == pytest.approx(expected, rel=1e-12)
    assert ranking.bdtr(v[order], t[order]) == pytest.approx(expected, rel=1e-12)
    assert ranking.bdtr(v[:, ::-1], t[:, ::-1]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_are_finite_where_everything_coincides(dtype):
    x = jnp.ones((2, 3, 2, 4), dtype)
    gradient = jax.grad(lambda x: ranking.bdtr(x[0], x[1]))(x)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, 0)
    zeros = jnp.zeros_like(x)
    assert np.isfinite(jax.grad(lambda x: ranking.bdtr(x[0], x[1]))(zeros)).all()
    s = jnp.ones((3, 4), dtype)
    for place in range(3):
        np.testing.assert_array_equal(jax.grad(lambda *s: ranking.triplet(*s, 1.0).sum(), place)(s, s, s), 0)


def test_euclidean_is_exact_for_close_vectors():
    x = jnp.full((3,), 1 / np.sqrt(3), jnp.float32)
    y = x.at[0].add(2.0**-20)
    assert ranking.euclidean(x, y) == pytest.approx(2.0**-20, rel=0.1)


def slow_triplet(s, m):
    """Averages the loss over triplets s [3, n, dim]."""
    losses = []
    for s_1, s_2, s_3 in zip(*s, strict=True):
        positive = sum(abs(a - b) for a, b in zip(s_1, s_2, strict=True))
        negative = sum(abs(a - b) for a, b in zip(s_1, s_3, strict=True))
        losses.append(max(0.0, m + positive - negative))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(5))
def test_triplet_and_its_gradient_are_those_of_the_plain_loops(seed):
    s = np.random.default_rng(seed).normal(size=(3, 6, DIM))
    assert jnp.mean(ranking.triplet(*jnp.asarray(s), 1.0)) == pytest.approx(slow_triplet(s, 1.0), rel=1e-12)
    gradient = jax.grad(lambda s: jnp.mean(ranking.triplet(*s, 1.0)))(jnp.asarray(s))
    expected = finite_differences(lambda s: slow_triplet(s, 1.0), s)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_triplets_computed_by_hand():
    s_1, s_2, s_3 = jnp.array([[0.0, 0]] * 3), jnp.array([[1.0, -1]] * 3), jnp.array([[4.0, 0], [0, -2.5], [1, 0]])
    np.testing.assert_allclose(ranking.triplet(s_1, s_2, s_3, 1.0), [0, 0.5, 2])


def test_batch_hard_triplets_computed_by_hand():
    """Two identities on a line: the first at 0 and 3, the second at 4 and 10."""
    x, y = jnp.array([[0.0], [3], [4], [10]]), jnp.array([5, 5, 2, 2])
    # Farthest of the same identity 3, 3, 6, 6; nearest of the other 4, 1, 1, 7.
    np.testing.assert_allclose(ranking.batch_hard_triplet(x, y, x, y, 2.0), [1, 4, 7, 1])
    np.testing.assert_allclose(ranking.batch_hard_triplet(x, y, x, y, 0.5), [0, 2.5, 5.5, 0])
    # The anchors of one device are compared with the images of all devices.
    np.testing.assert_allclose(ranking.batch_hard_triplet(x[2:], y[2:], x, y, 2.0), [7, 1])
    # In the plane: 5 to the own identity (3, 4), then 1 to the other.
    x, y = jnp.array([[0.0, 0], [3, 4], [0, 1]]), jnp.array([0, 0, 1])
    assert ranking.batch_hard_triplet(x, y, x, y, 2.0)[0] == pytest.approx(2 + 5 - 1)


def test_batch_hard_triplets_move_apart_what_is_hardest():
    """With a margin that all exceed, anchors on a line pull at their farthest and push their nearest."""
    x, y = jnp.array([[0.0], [3], [4], [10]]), jnp.array([0, 0, 1, 1])
    gradient = jax.grad(lambda x: ranking.batch_hard_triplet(x, y, x, y, 9.0).sum())(x)
    # The sum over anchors of |0 - 3| - |0 - 4|, |3 - 0| - |3 - 4|, |4 - 10| - |4 - 3| and |10 - 4| - |10 - 3|.
    np.testing.assert_array_equal(gradient[:, 0], [-1, 5, -5, 1])
    same = jnp.ones((4, 3))
    np.testing.assert_array_equal(jax.grad(lambda x: ranking.batch_hard_triplet(x, y, x, y, 9.0).sum())(same), 0)


@pytest.mark.parametrize("seed", range(5))
def test_hard_triplets_are_those_of_the_plain_loops(seed):
    rgb, ir = features(seed)
    triplets = ranking.hard_triplets(jnp.asarray(rgb), jnp.asarray(ir))
    for i in range(IDENTITIES):
        for k in range(SHOTS):
            distance = {(j, image): np.abs(rgb[i, k] - ir[j, image]).sum() for j, image in np.ndindex(ir.shape[:2])}
            own = {place: d for place, d in distance.items() if place[0] == i}
            others = {place: d for place, d in distance.items() if place[0] != i}
            assert divmod(int(triplets.positive[i, k]), SHOTS) == max(own, key=own.__getitem__)
            assert divmod(int(triplets.negative[i, k]), SHOTS) == min(others, key=others.__getitem__)


def test_hard_triplets_follow_identities_that_change_places():
    rgb, ir = features(7)
    order = np.random.default_rng(3).permutation(IDENTITIES)
    before = ranking.hard_triplets(jnp.asarray(rgb), jnp.asarray(ir))
    after = ranking.hard_triplets(jnp.asarray(rgb[order]), jnp.asarray(ir[order]))
    flat, flat_after = ir.reshape(-1, DIM), ir[order].reshape(-1, DIM)
    np.testing.assert_array_equal(flat_after[after.positive], flat[before.positive][order])
    np.testing.assert_array_equal(flat_after[after.negative], flat[before.negative][order])


def test_no_triplet_is_harder_than_the_hard_ones():
    rgb, ir = map(jnp.asarray, features(4))

    def losses(triplets):
        flat = ir.reshape(-1, DIM)
        codes = (flat[place.reshape(-1)] for place in triplets)
        return ranking.triplet(rgb.reshape(-1, DIM), *codes, 1.0)

    hard = losses(ranking.hard_triplets(rgb, ir))
    for seed in range(20):
        assert np.all(losses(ranking.random_triplets(jax.random.key(seed), IDENTITIES, SHOTS)) <= hard)


def test_random_triplets_are_uniform_over_all_allowed_images():
    draw = jax.vmap(lambda key: ranking.random_triplets(key, IDENTITIES, SHOTS))
    triplets = draw(jax.random.split(jax.random.key(0), 3000))
    for i in range(IDENTITIES):
        own = {i * SHOTS + shot for shot in range(SHOTS)}
        for k in range(SHOTS):
            for places, allowed in (
                (triplets.positive, own),
                (triplets.negative, set(range(IDENTITIES * SHOTS)) - own),
            ):
                images, counts = np.unique(places[:, i, k], return_counts=True)
                assert set(images) == allowed
                np.testing.assert_allclose(counts / 3000, 1 / len(allowed), atol=0.04)


def test_a_single_identity_has_no_negative():
    x = jnp.ones((1, 2, 3))
    for function in (ranking.bdtr, ranking.hard_triplets):
        with pytest.raises(ValueError, match=r"set config\.batch\.identities >= 2"):
            function(x, x)
    with pytest.raises(ValueError, match=r"set config\.batch\.identities >= 2"):
        ranking.random_triplets(jax.random.key(0), 1, 2)
