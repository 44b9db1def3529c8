import json

import numpy as np
import pytest

from rgbir_jax.inference.gradcam import PairMaps
from rgbir_jax.visualize import curves, gradcam, rankings, style, swaps, tsne

RNG = np.random.default_rng(0)


def images(*shape) -> np.ndarray:
    return RNG.integers(0, 256, (*shape, 8, 4, 3), np.uint8)


def pictures_of(figure) -> list[np.ndarray]:
    """Returns the pictures of a figure in the order of its axes."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_ranked_lists_frame_right_and_wrong_differently():
    probes, ranked = images(2), images(2, 3)
    right = np.array([[True, False, False], [False, True, True]])
    labels = [["a", "b", "c"], ["d", "e", "f"]]
    figure = rankings.ranked_lists(probes, ranked, right, ["first", "second"], labels, ["1", "2", "right"])
    expected = [picture for row in range(2) for picture in (probes[row], *ranked[row])]
    for actual, picture in zip(pictures_of(figure), expected, strict=True):
        np.testing.assert_array_equal(actual, picture)
    marks = [axes.get_xlabel() for axes in figure.axes]
    assert marks == ["first", "✓ a", "✗ b", "✗ c", "second", "✗ d", "✓ e", "✓ f"]
    frames = [axes.spines["left"] for axes in figure.axes]
    assert len({(frame.get_edgecolor(), frame.get_linestyle()) for frame in frames}) == 3


def test_a_map_over_an_image_is_lighter_where_it_is_higher():
    image = np.full((11, 1, 3), 100, np.uint8)
    laid = gradcam.overlay(image, np.linspace(0, 1, 11)[:, None])
    assert laid.shape == image.shape
    assert laid.dtype == np.uint8
    assert (np.diff(laid[:, 0] @ np.array([0.299, 0.587, 0.114])) > 0).all()  # readable without colour vision
    colourful = np.array([[[200, 0, 0], [0, 102, 0]]], np.uint8)  # of the same lightness
    np.testing.assert_array_equal(*gradcam.overlay(colourful, np.zeros((1, 2)))[0])


def test_pairs_stand_beside_their_maps():
    pairs = images(3), images(3)
    maps = PairMaps(*RNG.random((2, 3, 8, 4), np.float32))
    right = np.array([True, False, False])
    figure = gradcam.pairs_with_maps(pairs, maps, right, ["q0", "q1", "q2"], ["g0", "g1", "g2"])
    shown = [axes for axes in figure.axes if axes.images and axes.get_visible()]
    by_label = {axes.get_xlabel(): i for i, axes in enumerate(shown)}
    for pair, (query, match) in enumerate([("q0", "✓ g0"), ("q1", "✗ g1"), ("q2", "✗ g2")]):
        first = by_label[query]
        assert by_label[match] == first + 2
        expected = [side for image, laid in zip(pairs, maps, strict=True) for side in (image[pair], laid[pair])]
        expected[1::2] = (gradcam.overlay(expected[i], expected[i + 1]) for i in (0, 2))
        for axes, picture in zip(shown[first : first + 4], expected, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), picture)


def test_swapped_grid_has_structures_as_rows_and_appearances_as_columns():
    sources, swapped = images(3), images(3, 3)
    pictures = pictures_of(swaps.swapped_grid(sources, swapped))
    for column in range(3):
        np.testing.assert_array_equal(pictures[1 + column], sources[column])
    for row in range(3):
        np.testing.assert_array_equal(pictures[4 * (row + 1)], sources[row])
        for column in range(3):
            np.testing.assert_array_equal(pictures[4 * (row + 1) + 1 + column], swapped[row, column])


def test_interpolations_are_between_their_two_sources():
    sources, steps = images(2), images(2, 3)
    pictures = pictures_of(swaps.strips(sources, steps, "appearance"))
    expected = [sources[0], *steps[0], sources[1], sources[1], *steps[1], sources[0]]
    for picture, expected_picture in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(picture, expected_picture)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.eye(3), "There are features of 3 images, and t-SNE needs 4"),
        (np.arange(9.0)[:, None], "The features have one dimension"),
        (np.full((9, 4), 0.5), "The features of all 9 images are equal: they have collapsed"),
        (np.random.default_rng(0).normal(size=(9, 4)), ""),
    ],
)
def test_features_without_a_picture_in_the_plane(features, sentence):
    assert tsne.cannot_plot(features).startswith(sentence)
    assert bool(tsne.cannot_plot(features)) == bool(sentence)


def test_tsne_has_a_marker_per_modality_and_a_colour_per_person():
    person = np.repeat(np.arange(4), 6)
    modality = np.tile([0, 0, 0, 1, 1, 1], 4)
    features = RNG.normal(size=(24, 5)) + 5 * person[:, None]
    (axes,) = tsne.embedding_plot(features, person, modality).axes
    groups = [points for points in axes.collections if len(points.get_offsets())]
    assert [len(points.get_offsets()) for points in groups] == [3] * 8
    assert len({tuple(points.get_facecolor()[0]) for points in groups}) == 4


def test_a_step_that_was_logged_twice_counts_once(tmp_path):
    lines = [{"step": 1, "L_id": 3.0}, {"step": 2, "L_id": 2.0}, {"step": 2, "L_id": 1.5, "val/mAP": 0.1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = curves.read_log(tmp_path / "metrics.jsonl")
    assert log["L_id"][0].tolist() == [1, 2]
    assert log["L_id"][1].tolist() == [3.0, 1.5]
    assert log["val/mAP"][0].tolist() == [2]
    losses, scores = curves.training_curves(log).axes
    assert (losses.get_title(), scores.get_title()) == ("loss", "accuracy and validation")
    assert [axes.lines[0].get_marker() for axes in (losses, scores)] == ["", "o"]  # a line, and a point to be seen


def test_lines_that_were_cut_are_skipped_and_mentioned_once(tmp_path, capsys):
    whole = json.dumps({"step": 1, "L_id": 3.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        f'{whole}\n{{"step": 2, "L_\n'.encode() + bytes(7) + b"\xff\n[1]\n" + whole.replace("1", "3").encode()
    )
    assert curves.read_log(path)["L_id"][0].tolist() == [1, 3]
    assert capsys.readouterr().err == f"{path}: lines 2, 3, 4 cannot be read and are skipped.\n"
    path.write_text("\n".join([whole, '{"step": 1e999, "L_id": 2}', "[" * 100_000, *["x"] * 99]))
    assert curves.read_log(path)["L_id"][1].tolist() == [3]
    assert capsys.readouterr().err == f"{path}: lines 2, 3, 4, 5, 6, ... cannot be read and are skipped.\n"


def test_a_log_without_curves_has_no_figure():
    assert curves.training_curves({}) is None
    assert curves.training_curves({"images_per_second": (np.array([1]), np.array([2.0]))}) is None
    curves.training_curves({"L_id": (np.array([1]), np.array([0.0]))})  # nothing that a logarithm could show


def test_more_systems_than_colours_are_drawn():
    (axes,) = curves.cmc_curves({str(i): [0.5] * 50 for i in range(12)}).axes
    assert len(axes.lines) == 12


def test_cmc_curves_are_in_percent(tmp_path):
    figure = curves.cmc_curves({"chance": [0.1, 0.2, 0.3], "trained": [0.5, 0.75, 1.0]}, ranks=3)
    (axes,) = figure.axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [
        pytest.approx([10, 20, 30]),
        pytest.approx([50, 75, 100]),
    ]
    style.save(figure, tmp_path / "cmc.png")
    assert (tmp_path / "cmc.png").read_bytes().startswith(b"\x89PNG")
