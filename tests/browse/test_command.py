"""rgbir-browse from its command line to the server, which is not started."""

import pytest

from tests.own_people import write_people

pytest.importorskip("starlette")


def test_the_command_serves_a_gallery(tmp_path, monkeypatch):
    from rgbir_jax.browse import serving
    from rgbir_jax.commands import browse

    started = []
    monkeypatch.setattr(serving, "serve", lambda app, taken, opens: started.append((app, taken, opens)))
    write_people(tmp_path / "people", range(3))
    with pytest.raises(SystemExit) as end:
        browse.main(["drawn", "--gallery", str(tmp_path / "people"), "--open"])
    assert end.value.code == 0
    ((app, taken, opens),) = started
    assert callable(app)
    assert opens
    assert taken.getsockname()[0] == "127.0.0.1"
    taken.close()
