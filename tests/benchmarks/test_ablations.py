"""The table of ablations, from probes that are made up."""

import numpy as np
import pytest

from benchmarks import ablations

PERSON = np.repeat(np.arange(40), 5)


def write(folder, **precision):
    folder.mkdir(parents=True)
    arrays = {f"{system}/AP": values for system, values in precision.items()}
    arrays |= {f"{system}/rank1": (values > 0.5).astype(float) for system, values in precision.items()}
    np.savez(folder / "probes.npz", person=PERSON, **arrays)


@pytest.fixture
def runs(tmp_path):
    """Writes three seeds: `paper` is 0.1 above the control, which is noise around 0.4; its code s is below it."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        control = np.clip(0.4 + 0.1 * rng.normal(size=len(PERSON)), 0, 1)
        write(tmp_path / str(seed) / "base", teacher=control - 0.02 * rng.normal(size=len(PERSON)), control=control)
        write(tmp_path / str(seed) / "paper", trained=control + 0.1, a=control, s=control - 0.2)
    return tmp_path


def test_a_difference_is_found_and_a_tie_is_not(runs):
    rows = ablations.tabulate(runs, 3, ["paper"])
    assert list(rows) == ["teacher", "control", "paper", "paper, by a", "paper, by pooled s"]
    ahead = rows["paper"]["ahead"]
    assert ahead["low"] == pytest.approx(10) == ahead["high"]  # every probe is ahead by as much
    np.testing.assert_allclose(ahead["seeds"], 10)
    assert rows["paper, by a"]["ahead"]["mean"] == pytest.approx(0)
    assert rows["paper, by pooled s"]["ahead"]["high"] < 0
    teacher = rows["teacher"]["ahead"]
    assert teacher["low"] < 0 < teacher["high"]
    assert rows["control"]["mAP"]["mean"] == pytest.approx(40, abs=1)


def test_the_table(runs):
    text = ablations.markdown(ablations.tabulate(runs, 3, ["paper"]), 3)
    assert "| paper |" in text
    assert "+10.00 (+10.00 to +10.00) | 3 of 3 |" in text
    assert "3 seeds" in text


def test_cells_have_folders_of_their_own():
    assert len({ablations.folder_name(name) for name in ablations.CELLS}) == len(ablations.CELLS)
    with pytest.raises(SystemExit):
        ablations.parse(["--cells", "papre"])


def test_a_cell_comes_after_the_one_it_starts_from():
    assert ablations.parse(["--cells", "without L_dis", "dgnet"]).cells == ["paper", "dgnet", "without L_dis"]
    names = list(ablations.CELLS)
    for name, cell in ablations.CELLS.items():
        assert not cell.drawing or (names.index(cell.drawing) < names.index(name))
        assert not cell.drawing or not ablations.CELLS[cell.drawing].drawing
