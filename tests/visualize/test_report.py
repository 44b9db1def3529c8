"""The report as one file: its size, and what it says first."""

import numpy as np

from rgbir_jax.evaluation.disentanglement import Table
from rgbir_jax.visualize import curves, rankings, report

RNG = np.random.default_rng(0)


def lists(rows: int) -> report.Shown:
    """Returns a figure of noise, which compresses worse than any photo."""
    images = RNG.integers(0, 256, (rows, 3, 64, 32, 3), np.uint8)
    labels = [["1, c1\n0.50"] * 2] * rows
    wrong = np.zeros((rows, 2), bool)
    figure = rankings.ranked_lists(images[:, 0], images[:, 1:], wrong, ["p"] * rows, labels, ["1", "2"])
    return report.Shown(f"lists{rows}", "Lists", "Lists of images.", figure)


def scored() -> dict:
    row = {"cmc": [0.5] * 50, "mAP": 0.25, "mINP": 0.1, "std": {"rank1": 0, "mAP": 0}, "trials": [{}]}
    row |= {"gallery_images": 9, "counted_probes": 9, "different_galleries": 1}
    return {"protocol": "p", "settings": {"s": "a search"}, "trained": {"s": row}}


def write(folder) -> bytes:
    """Writes a report. Returns its bytes."""
    shares = {"trained": {"1": 0.5, "later": 0.5}, "<teacher>": {"1": 0.25, "later": 0.75}}
    histogram = report.Shown("ranks", "Ranks", "Ranks.", curves.rank_histograms(shares))
    sections = [
        report.Section("Failures", ["A & B."], [Table("c", ["", "x"], [["r", "1.0"]])], [histogram, lists(1)]),
        report.Section.of(lists(2)),
    ]
    headline = report.Headline(12.34, 5.67, "who & where", Table("compared", ["", "x"], [["row", "2.0"]]), ["a note"])
    path = report.write(
        folder, title="t", headline=headline, facts={"seed": "0"}, scores=scored(), sections=sections, way_out=""
    )
    return path.read_bytes()


def test_photos_that_do_not_fit_have_a_lower_quality(tmp_path, monkeypatch):
    best = len(write(tmp_path))
    assert report.MOST_BYTES < 5e6
    monkeypatch.setattr(report, "MOST_BYTES", best // 2)
    assert len(write(tmp_path)) < best // 2 + 20_000  # the rest is text


def test_the_headline_comes_first_and_what_was_run_last(tmp_path):
    text = write(tmp_path).decode()
    places = [
        text.index(part)
        for part in ("12.3%</b> rank-1", "5.7%</b> mAP", "who &amp; where", ">compared<", "a note", "<h2>Scores</h2>")
    ]
    places += [text.index(part) for part in ("<h2>Failures</h2>", "A &amp; B.", "<h3>Ranks</h3>", "<dt>seed</dt>")]
    assert places == sorted(places)
    assert text.count("<h3>Lists</h3>") == 1  # the other one is the heading of its section


def test_roc_curves_end_where_pairs_are_too_few():
    (axes,) = curves.roc_curves({"chance": ([0.01, 0.1, 1.0], [None, 0.1, 1.0])}).axes
    assert axes.lines[0].get_xydata().tolist() == [[0.1, 10], [1, 100]]
    assert axes.get_xscale() == "log"


def test_bars_of_a_histogram():
    (axes,) = curves.rank_histograms({"a": {"1": 0.25, "later": 0.75}, "b": {"1": 0.5, "later": 0.5}}).axes
    assert [[bar.get_height() for bar in group] for group in axes.containers] == [[25, 75], [50, 50]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "later"]
