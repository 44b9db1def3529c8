"""Describes the machine and the versions that a benchmark ran on, and writes its figures."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path


def machine() -> str:
    """Names the processor and counts its cores."""
    return f"{_processor()}, {os.cpu_count()} cores"


def versions(*packages: str) -> str:
    """Lists the versions of Python and of the given packages; packages that are not installed are left out."""
    installed = {package.metadata["Name"].lower().replace("_", "-") for package in metadata.distributions()}
    numbers = [f"{package} {metadata.version(package)}" for package in packages if package in installed]
    return ", ".join([f"Python {platform.python_version()}", *numbers])


def keep(path: str | Path | None, figures: dict) -> None:
    """Writes the figures as JSON, if a path is given."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(figures, indent=1) + "\n")


def _processor() -> str:
    """Returns the processor's trade name, if Linux has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
