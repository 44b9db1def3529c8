"""rgbir-browse: it is served until Ctrl-C, on the loopback address only; what is wrong is one sentence."""

import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.request
import webbrowser

import pytest

import rgbir_jax
from rgbir_jax.commands import browse, own_images
from tests.own_people import write_people

pytest.importorskip("starlette")

from rgbir_jax.browse.serving import reserve


@pytest.fixture
def call(capsys):
    """Returns a function that runs the program: (status, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            browse.main([str(argument) for argument in arguments])
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    monkeypatch.setattr(own_images, "load", lambda run: pytest.fail("the run is loaded first"))


def test_it_is_served_until_ctrl_c(call, tmp_path, monkeypatch):
    write_people(tmp_path / "people", range(2))
    with reserve(0) as free:
        port = free.getsockname()[1]
    answers, opened, address = [], [], f"http://127.0.0.1:{port}/"
    monkeypatch.setattr(webbrowser, "open", opened.append)

    def visit():
        deadline = time.monotonic() + 120
        while not answers and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{address}images/1", timeout=60) as answer:
                    answers.append((answer.status, answer.headers["content-type"]))
            except OSError:
                time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    status, out, err = call("drawn", "--gallery", tmp_path / "people", "--port", port, "--open")
    visitor.join()
    assert answers == [(200, "image/jpeg")]
    assert opened == [address]
    assert out == f"{address} shows the page, on this machine only. Ctrl-C ends it.\n"
    assert status == 0
    assert "Traceback" not in err


def test_ports_are_on_the_loopback_address_and_free():
    with reserve(0) as first, reserve(0) as second:
        assert {first.getsockname()[0], second.getsockname()[0]} == {"127.0.0.1"}
        assert first.getsockname()[1] != second.getsockname()[1]


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_port_that_is_taken_is_refused_first(call, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, out, err = call("drawn", "--gallery", tmp_path, "--port", port)
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"rgbir-browse: port {port} cannot be used \(Address already in use\); .*\.\n", err)
    for port in (70_000, -1):
        assert f"port {port} cannot be used" in call("drawn", "--gallery", tmp_path, "--port", port)[2]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(("package", "used_in"), [("starlette", "app"), ("uvicorn", "serving")])
def test_a_missing_package_is_named(call, tmp_path, monkeypatch, package, used_in):
    for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"rgbir_jax.browse.{used_in}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    status, out, err = call("drawn", "--gallery", tmp_path)
    assert (status, out) == (2, "")
    assert err == (f"rgbir-browse: the page needs {package}; install it: pip install 'rgbir-jax[browse]'.\n")


def test_what_cannot_be_shown_is_refused(call, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        (("drawn", "--gallery", tmp_path / "empty"), "has no images"),
        (("drawn", "--gallery", tmp_path / "absent"), "is no folder"),
        ((tmp_path / "empty", "--gallery", tmp_path), "config.json is missing"),
    ):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert sentence in err
        assert "Traceback" not in err


def test_ctrl_c_before_it_is_served(call, tmp_path, monkeypatch):
    def stop(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(own_images, "load", stop)
    status, out, err = call("drawn", "--gallery", tmp_path)
    assert (status, out, err) == (130, "", "rgbir-browse: stopped.\n")
    assert rgbir_jax.load is not stop
