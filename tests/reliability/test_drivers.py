"""The drivers behind `make chaos` and `make soak`, with few faults and iterations."""

import json
import os
import subprocess
import sys
from random import Random

import pytest

from tests.reliability import chaos, soak
from tests.reliability.ends import differences
from tests.reliability.faults import DAMAGES, small_disk
from tests.reliability.program import Program, newest
from tests.reliability.recipe import SYSTEMS
from tests.reliability.soak import Reading
from tests.reliability.tally import Tally


@pytest.mark.slow
def test_chaos(tmp_path):
    """Kills while people are drawn, while images are prepared and while a checkpoint is saved; stops; fills a disk."""
    only = ["preparing", "saving", "stopping", "full"]
    arguments = ["--seed=5", "--systems=teacher", "--only", *only, "--drawing=1", f"--json={tmp_path}/tally.json"]
    assert chaos.main(arguments) == 0
    tally = json.loads((tmp_path / "tally.json").read_text())
    assert not tally["failures"]
    for kind in ("while people are drawn", "while images are prepared", "while it saves"):
        row = tally["faults"][f"SIGKILL {kind}"]
        assert row["faults"] == row["recovered"] > 0
        assert row["tracebacks"] == 0
    assert tally["faults"][chaos.STOPPING]["faults"] == 1


@pytest.mark.slow
def test_soak(tmp_path):
    """So few iterations are not flat: the compiled programs are still growing into memory."""
    soak.main(["--steps=60", "--every=10", f"--json={tmp_path}/soak.json"])
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert len(figures["readings"]) >= 4
    assert all(reading["memory"] > 100 and reading["threads"] > 1 for reading in figures["readings"])
    assert not [failure for failure in figures["failures"] if "rises" not in failure]


def test_every_kind_of_fault_comes_in_every_stage():
    for stages in SYSTEMS.values():
        faults = chaos.plan(Random(0), stages, [])
        for kind, times in chaos.EACH.items():
            assert [stage for name, stage in faults if name == kind] == [
                stage for stage in stages for _ in range(times)
            ]
        assert sum(name == "two" for name, _ in faults) == 1
        assert [name for name, _ in faults][:: len(faults) - 1] == ["preparing memory", "preparing tf_data"]
        for name, _ in faults:
            assert callable(getattr(chaos.Journey, name.split()[0]))


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_damage_changes_something(kind, tmp_path):
    checkpoint = tmp_path / "teacher" / "checkpoints" / "4"
    (checkpoint / "state" / "d").mkdir(parents=True)
    (checkpoint / "state" / "d" / "numbers").write_bytes(b"\1" * 100)
    (tmp_path / "teacher" / "metrics.jsonl").write_text('{"step": 3}\n{"step": 4}\n')

    def content():
        return {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}

    before = content()
    DAMAGES[kind](Random(0), checkpoint)
    assert content() != before
    assert newest(tmp_path / "teacher") == 4


def test_a_full_disk_is_full_until_there_is_room(tmp_path):
    write = "import os, sys, time; time.sleep(1); open(os.path.join(sys.argv[1], 'file'), 'wb').write(bytes(100_000))"
    with small_disk(tmp_path / "disk") as disk:
        for fill, code in ((True, 1), (False, 0)):
            command = [sys.executable, "-c", write, disk.folder]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                if fill:
                    disk.fill(5000, process)
                assert process.wait() == code
            disk.make_room()


def test_ends_that_differ_in_one_bit_are_told_apart():
    end = {"teacher, last: params/w": (24, b"\0\1"), "teacher, last: step": (24, b"\2")}
    assert differences(end, dict(end)) == []
    assert differences(end, end | {"teacher, last: params/w": (24, b"\0\0")}) == ["teacher, last: params/w"]
    assert differences(end, {"teacher, last: step": (24, b"\2")}) == ["teacher, last: params/w"]


def test_losses_are_counted_in_save_intervals():
    assert [chaos.intervals("teacher", steps) for steps in (-1, 0, 3, 8)] == [0, 0, 0.75, 2]


def test_the_tally_counts():
    tally = Tally()
    tally.fault("kill", 0.5)
    tally.recovered()
    tally.fault("kill", 1.0)
    tally.row("full").refusals += 1
    assert "| kill | 2 | 1 | 0.75 | 1.00 | 0 | 0 |" in tally.table()
    assert "| all | 2 | 1 | 0.75 | 1.00 | 1 | 0 |" in tally.table()
    tally.fail("it hangs")
    assert tally.content()["failures"] == ["it hangs"]


def test_only_lines_that_a_program_adds_are_its_own(tmp_path):
    log = tmp_path / "teacher" / "metrics.jsonl"
    log.parent.mkdir()
    log.write_text('{"step": 1}\n{"st')
    program = Program(["-c", ""], tmp_path, ("teacher", "image"), tmp_path / "output", {})
    assert program.end() == 0
    assert program.logged("teacher") == []
    assert not program.reached("teacher", 0)
    with log.open("a") as file:
        file.write('\n{"step": 2}\n{"step": 3}\n{"step"')
    assert program.logged("teacher") == [2, 3]
    assert program.reached("teacher", 3)
    assert not program.reached("teacher", 4)
    with log.open("a") as file:
        file.write(": 4}\n")
    assert program.last("teacher") == 4
    assert newest(tmp_path / "teacher") == 0


def test_a_rise_is_noticed():
    def readings(growth):
        return [Reading(step, 1000 + growth * step + step % 7, 9, 20 + step % 2) for step in range(100, 5001, 100)]

    assert all(row["rise"] < row["tolerance"] for row in soak.rows(readings(0)).values())
    rising = soak.rows(readings(0.01))["resident memory, MiB"]
    assert rising["rise"] == pytest.approx(40, abs=2)
    assert rising["rise"] > rising["tolerance"]


def test_a_live_process_is_read():
    reading = soak.read(os.getpid(), 3)
    assert reading.step == 3
    assert reading.memory > 10
    assert reading.files >= 3
    assert reading.threads >= 1
