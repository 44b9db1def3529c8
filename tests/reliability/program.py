"""A training that is watched from outside: how far it is, and how it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import ROOT

LOOK_EVERY_S = 0.001
PROGRAM = "train.py: "  # before the sentence that it ends with


class Program:
    """train.py, or another program, from its start to its end.

    Args:
        arguments: the command line after the interpreter.
        workdir: the run's folder.
        stages: the names of its stages in order.
        output: the file that its output and errors are written to.
        environment: further environment variables.
        patience: the number of seconds after which it is taken to hang.
    """

    def __init__(
        self,
        arguments: list[str],
        workdir: Path,
        stages: tuple[str, ...],
        output: Path,
        environment: dict[str, str],
        patience: float = 1200,
    ):
        self.workdir, self.stages, self._output, self._patience = workdir, stages, output, patience
        self._logs = {stage: _Log(workdir / stage / "metrics.jsonl") for stage in stages}
        self.begun = time.time()
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, stdout=file, stderr=file
            )

    def wait_until(self, moment: Callable[[], bool]) -> bool:
        """Waits for a moment. Returns whether it came before the program ended."""
        while self.process.poll() is None:
            if moment():
                return True
            if self.ran(self._patience):
                self.process.kill()
                raise TimeoutError(f"the program did not end: {self.text()[-500:]}")
            time.sleep(LOOK_EVERY_S)
        return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Sends a signal and waits for the end. Returns the exit code."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Waits for the end. Returns the exit code."""
        self.wait_until(lambda: False)
        return self.process.returncode

    def text(self) -> str:
        """Returns what it has printed."""
        return self._output.read_text(errors="replace").replace("\r", "\n")

    def sentences(self) -> list[str]:
        """Returns the errors that it has printed."""
        return [line for line in self.text().splitlines() if line.startswith(PROGRAM)]

    def logged(self, stage: str) -> list[int]:
        """Returns the iterations of a stage that this program has logged."""
        return self._logs[stage].steps()

    def last(self, stage: str) -> int:
        """Returns the last of them, 0 if there is none."""
        return max(self.logged(stage), default=0)

    def reached(self, stage: str, step: int) -> bool:
        """Tells whether this program has trained a stage to an iteration, or has begun a later stage."""
        later = self.stages[self.stages.index(stage) + 1 :]
        return any(map(self.logged, later)) or (bool(self.logged(stage)) and self.last(stage) >= step)

    def ran(self, seconds: float) -> bool:
        """Tells whether this program was started that long ago."""
        return time.time() - self.begun > seconds

    def saving(self) -> bool:
        """Tells whether this program is writing a checkpoint."""
        for stage in self.stages:
            for folder in (self.workdir / stage / "checkpoints").glob("*.orbax-checkpoint-tmp*"):
                try:
                    if folder.stat().st_ctime > self.begun:
                        return True
                except FileNotFoundError:  # it is written
                    return False
        return False


class _Log:
    """The lines that are added to a log from now on."""

    def __init__(self, path: Path):
        self._path, self._read, self._steps = path, path.stat().st_size if path.is_file() else 0, []

    def steps(self) -> list[int]:
        """Returns the iterations of these lines."""
        if self._path.is_file() and self._path.stat().st_size > self._read:
            with self._path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read += len(whole)
            self._steps += [step for line in whole.splitlines() if (step := _step(line)) is not None]
        return self._steps


def newest(stage_folder: Path) -> int:
    """Returns the iteration of a stage's newest checkpoint, 0 if there is none."""
    return max((int(path.name) for path in (stage_folder / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _step(line: bytes) -> int | None:
    """Returns the iteration of a line of the log, None for one that is cut or empty."""
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return None
