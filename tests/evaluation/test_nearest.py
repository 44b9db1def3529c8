"""The order of a gallery, which scores and ranked lists share."""

import numpy as np

from rgbir_jax.evaluation import distances
from rgbir_jax.evaluation.nearest import nearest

RNG = np.random.default_rng(0)


def by_loop(probe, gallery, hidden):
    """Returns the visible images of each list, nearest first, and their distances."""
    for p, row in zip(probe, hidden, strict=True):
        distance = np.linalg.norm(p - gallery, axis=1)
        order = [j for j in np.argsort(distance, kind="stable") if not row[j]]
        yield order, distance[order]


def test_it_agrees_with_a_loop_and_puts_hidden_images_last(monkeypatch):
    probe, gallery = RNG.normal(size=(5, 3)), RNG.normal(size=(20, 3))
    hidden = RNG.random((5, 20)) < 0.3
    for in_memory in (distances.DISTANCES, 45):  # the second: two probes at a time
        monkeypatch.setattr(distances, "DISTANCES", in_memory)
        order, distance = nearest(probe, gallery, hidden=hidden)
        for i, (visible, expected) in enumerate(by_loop(probe, gallery, hidden)):
            assert order[i, : len(visible)].tolist() == visible
            np.testing.assert_allclose(distance[i, : len(visible)], expected)
            assert np.isinf(distance[i, len(visible) :]).all()
        for top in (0, 1, 7, 20, 50):
            first, nearer = nearest(probe, gallery, hidden=hidden, top=top)
            np.testing.assert_array_equal(first, order[:, :top])
            np.testing.assert_array_equal(nearer, distance[:, :top])


def test_equal_distances_keep_the_order_of_the_gallery():
    gallery = RNG.normal(size=(4, 6)).astype(np.float32)[[0, 1, 2, 1, 3, 1]]
    order, _ = nearest(gallery[[1]], gallery)
    assert order[0, :3].tolist() == [1, 3, 5]
    order, _ = nearest(gallery[[1]], gallery, top=2)
    assert order[0].tolist() == [1, 3]


def test_some_images_of_a_gallery_have_the_order_that_they_have_in_the_whole():
    probe, gallery = RNG.normal(size=(3, 5)), RNG.normal(size=(30, 5)).repeat(2, axis=0)
    place = np.sort(RNG.permutation(60)[:25])
    whole, distance = nearest(probe, gallery)
    order, nearer = nearest(probe, gallery[place], place=place, size=60, top=10)
    for i in range(3):
        chosen = np.isin(whole[i], place)
        assert order[i].tolist() == whole[i][chosen][:10].tolist()
        np.testing.assert_allclose(nearer[i], distance[i][chosen][:10])


def test_an_empty_gallery_has_empty_lists():
    order, distance = nearest(np.ones((2, 3)), np.zeros((0, 3)))
    assert order.shape == distance.shape == (2, 0)
