"""What every benchmark says of where it ran, and how it keeps what it measured."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path


def machine() -> str:
    """The processor and its cores."""
    return f"{_processor()}, {os.cpu_count()} cores"


def versions(*packages: str) -> str:
    """Of Python and of those packages that are installed."""
    installed = {package.metadata["Name"].lower().replace("_", "-") for package in metadata.distributions()}
    found = [f"{package} {metadata.version(package)}" for package in packages if package in installed]
    return ", ".join([f"Python {platform.python_version()}", *found])


def keep(path: str | None, measured: dict) -> None:
    """Writes the figures as JSON, if a path is given."""
    if path:
        Path(path).write_text(json.dumps(measured, indent=1) + "\n")


def _processor() -> str:
    """Its trade name where Linux tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
