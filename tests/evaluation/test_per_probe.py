"""Figures of single probes, and runs that are compared by them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from rgbir_jax.datasets.search import Search, nothing_hidden
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.bootstrap import Interval
from rgbir_jax.evaluation.comparison import SEEDS, compare, sentence, verdict
from rgbir_jax.evaluation.evaluate import probes_of, ranked, summarised
from rgbir_jax.evaluation.metrics import Ranks
from rgbir_jax.evaluation.per_probe import FILE, PerProbe, averaged
from tests.evaluation.test_evaluate import table


def ranks(first, precision, counted) -> Ranks:
    ones = np.ones(len(first))
    return Ranks(np.array(first), np.array(precision), ones, np.array(counted), np.array(precision) / 2)


def test_figures_are_averaged_over_the_trials_that_count_a_probe():
    trials = [
        ranks([0, 3, 0, 0], [1.0, 0.25, 0.9, 0.7], [True, True, False, False]),
        ranks([1, 0, 0, 0], [0.5, 1.0, 0.6, 0.7], [True, True, True, False]),
    ]
    figures = averaged(trials, "hits")
    np.testing.assert_array_equal(figures["rank1"], [0.5, 0.5, 1, np.nan])
    np.testing.assert_array_equal(figures["AP"], [0.75, 0.625, 0.6, np.nan])
    np.testing.assert_array_equal(averaged(trials, "trapezoid")["AP"], [0.375, 0.3125, 0.3, np.nan])


RECORDS = table(np.repeat(np.arange(1, 31), 4), np.tile([1, 3, 3, 3], 30))


def search(galleries=(RECORDS.camera == 1,)) -> Search:
    rows = tuple(np.flatnonzero(chosen) for chosen in galleries)
    return Search("one", "one search", np.flatnonzero(RECORDS.camera == 3)[::-1], rows, nothing_hidden, "identity")


def features(noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(31, 8))
    return centres[RECORDS.person_id] + noise * rng.normal(size=(len(RECORDS), 8))


def write_run(folder, found: np.ndarray, of: Search | None = None, **scores) -> tuple[str, PerProbe]:
    """Writes the files of a scored run."""
    searches = [of or search()]
    trials = ranked(found, RECORDS, searches)
    content = {"dataset": "D", "protocol": "p", "settings": {"one": "one search"}} | scores
    folder.mkdir()
    (folder / "scores.json").write_text(json.dumps(content | {"trained": summarised(trials, searches)}))
    probes = PerProbe.of(RECORDS, searches, {"trained": trials})
    probes.write(folder / FILE, "")
    return str(folder), probes


def test_the_file_holds_what_was_computed(tmp_path):
    _, probes = write_run(tmp_path / "a", features(1, 1))
    read = PerProbe.read(tmp_path / "a" / FILE)
    assert read.images == probes.images
    np.testing.assert_array_equal(read.person_id["one"], RECORDS.person_id[probes_of(RECORDS, search())])
    assert list(read.figures) == [("one", "trained", "rank1"), ("one", "trained", "AP")]
    for names, values in probes.figures.items():
        np.testing.assert_allclose(read.figures[names], values, rtol=1e-6)
    scored = json.loads((tmp_path / "a" / "scores.json").read_text())["trained"]["one"]
    assert read.figures["one", "trained", "rank1"].mean() == pytest.approx(scored["cmc"][0])
    assert read.figures["one", "trained", "AP"].mean() == pytest.approx(scored["mAP"])


def as_npy(path, columns):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def shortened(path, columns):
    np.savez(path, **{name: values[:3] if name.startswith("figures") else values for name, values in columns.items()})


def without_persons(path, columns):
    np.savez(path, **{name: values for name, values in columns.items() if not name.startswith("person_id")})


@pytest.mark.parametrize("damage", [lambda path, columns: path.write_bytes(b"PK"), as_npy, shortened, without_persons])
def test_a_damaged_file_is_named(tmp_path, damage):
    folder, _ = write_run(tmp_path / "a", features(1, 1))
    path = tmp_path / "a" / FILE
    damage(path, dict(np.load(path)))
    with pytest.raises(UserError, match=rf"{FILE} is damaged; eval.py --workdir {folder} writes it again"):
        PerProbe.read(path)


def test_a_better_run_is_ahead_and_one_as_good_is_undecided(tmp_path):
    worse, better = write_run(tmp_path / "worse", features(1.2, 1)), write_run(tmp_path / "better", features(0.4, 2))
    alike = write_run(tmp_path / "alike", features(1.2, 3))
    text, content = compare([worse[0], better[0], alike[0]])
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines[better[0]].endswith("ahead")
    assert lines[alike[0]].endswith("undecided")
    assert text.startswith(f"D, one search; protocol p; in %. Ahead of {worse[0]}: paired bootstrap over 30 persons")
    assert text.endswith(SEEDS)
    row = content["one"][better[0]]
    ahead = better[1].figures["one", "trained", "AP"] - worse[1].figures["one", "trained", "AP"]
    assert row["mAP_ahead"]["mean"] == pytest.approx(ahead.mean(), abs=1e-6)
    # by hand: the same probes of all persons, resampled person by person
    of_person = ahead.reshape(30, 3).mean(axis=1)
    draws = np.random.default_rng(5).choice(of_person, size=(4000, 30)).mean(axis=1)
    np.testing.assert_allclose(
        [row["mAP_ahead"][end] for end in ("low", "high")], np.percentile(draws, (2.5, 97.5)), atol=0.01
    )
    assert compare([better[0], worse[0]])[0].splitlines()[3].endswith("behind")


def test_verdicts():
    assert verdict(Interval(1, 0.1, 2, 9)) == "ahead"
    assert verdict(Interval(1, -0.1, 2, 9)) == verdict(Interval(0, 0, 0, 9)) == "undecided"
    assert verdict(Interval(-1, -2, -0.1, 9)) == "behind"


def test_runs_that_do_not_compare_are_refused(tmp_path):
    a, _ = write_run(tmp_path / "a", features(1, 1))
    for name, changes in (("b", {"dataset": "E"}), ("c", {"protocol": "q"})):
        other, _ = write_run(tmp_path / name, features(1, 1), **changes)
        key, value = next(iter(changes.items()))
        with pytest.raises(
            UserError, match=rf"the {key} of {a} is ., and that of {other} {value}; score both in the same way"
        ):
            compare([a, other])
    fewer = dataclasses.replace(search(), galleries=(search().galleries[0][1:],))
    other, _ = write_run(tmp_path / "d", features(1, 1), fewer)
    with pytest.raises(UserError, match=rf"{a} and {other} were scored on other images \(one\)"):
        compare([a, other])
    (tmp_path / "d" / "scores.json").write_text('{"dataset": "D", "protocol": "p", "trained": {}}')
    with pytest.raises(UserError, match=rf"{other}/scores.json has no settings; eval.py --workdir {other} writes it"):
        compare([a, other])
    for content in ('{"dataset": "D"', "[]", '{"dataset": "D", "protocol": "p", "settings": 3, "trained": {}}'):
        (tmp_path / "d" / "scores.json").write_text(content)
        with pytest.raises(UserError, match=rf"d/scores.json .*; eval.py --workdir {other} writes it again") as refused:
            compare([a, other])
        assert "train" not in str(refused.value)
    (tmp_path / "d" / "scores.json").write_text(
        (tmp_path / "a/scores.json").read_text().replace('"one": {', '"two": {')
    )
    shutil.copy(tmp_path / "a" / FILE, tmp_path / "d")
    with pytest.raises(
        UserError, match=rf"{other} has no figures of the trained stage \(one\); eval.py --workdir {other}"
    ):
        compare([a, other])
    for twice in (a, f"{a}/", f"{other}/../a"):
        with pytest.raises(UserError, match=rf"{twice} is given twice; name different runs"):
            compare([a, other, twice])
    (tmp_path / "a" / FILE).unlink()
    with pytest.raises(UserError, match=rf"{FILE} is missing; eval.py --workdir {a} writes it"):
        compare([a, other])
    with pytest.raises(UserError, match=r"absent has no scores.json; eval.py --workdir"):
        compare([str(tmp_path / "absent"), a])


def test_a_verdict_in_words():
    assert sentence(Interval(0.007, -0.043, 0.056, 9), "its control") == (
        "The trained stage is neither better nor worse at finding people than its control, as far as these people can "
        "tell: its mAP is ahead by +0.70 (-4.30 to +5.60) points."
    )
    assert "finds people worse than its teacher" in sentence(Interval(-0.1, -0.2, -0.01, 9), "its teacher")
