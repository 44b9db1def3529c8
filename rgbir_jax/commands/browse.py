"""Serves a page to look at what a run does: ranked galleries, activation maps, swaps and interpolations.

    rgbir-browse runs/x --gallery people
    rgbir-browse drawn --gallery people.index --port 8000 --open

The gallery is a folder of images, an index of rgbir-index, or a dataset's tree. Identity and camera are shown if the
tree is one that rgbir-check recognises. If a folder has an index next to it, FOLDER.index, this is used; otherwise the
features of its images are computed at the start. Only this machine can open the page, and images that are sent stay in
memory. It needs `pip install 'rgbir-jax[browse]'`.

Exit status: 0 after Ctrl-C; 2 if the page cannot be served; 130 after Ctrl-C before it is served.
"""

import argparse

from rgbir_jax.commands import own_images
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    flags = argparse.ArgumentParser(
        "rgbir-browse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("run", metavar="RUN", help="a run's folder, or drawn, a model that comes along")
    flags.add_argument("--gallery", required=True, metavar="FOLDER|INDEX", help="the images to look among")
    flags.add_argument("--modality", choices=MODALITIES, help="of a folder's images; else it is known or guessed")
    flags.add_argument("--port", type=int, default=0, help="the port; else any that is free")
    flags.add_argument("--open", action="store_true", help="open the page in the browser")
    options = flags.parse_args(argv)
    own_images.ends("rgbir-browse", lambda: _serve(options))


def _serve(options: argparse.Namespace) -> bool:
    try:
        from rgbir_jax.browse.app import application
        from rgbir_jax.browse.serving import reserve, serve
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise UserError(f"the page needs {package}; install it: pip install 'rgbir-jax[browse]'.") from error
    from rgbir_jax.browse.gallery import open_gallery
    from rgbir_jax.browse.viewer import Viewer

    with reserve(options.port) as taken:
        run = own_images.opened(options.run)
        serve(application(Viewer(run, open_gallery(options.gallery, run, options.modality))), taken, options.open)
    return True


if __name__ == "__main__":
    main()
