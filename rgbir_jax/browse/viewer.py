"""What the page shows: a run looks at the images of a gallery and at those that the page sends."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rgbir_jax.browse.gallery import Gallery
from rgbir_jax.browse.uploads import LARGEST, Upload, Uploads
from rgbir_jax.data.given_images import has_equal_channels
from rgbir_jax.datasets.records import MODALITIES
from rgbir_jax.errors import UserError
from rgbir_jax.evaluation.nearest import nearest
from rgbir_jax.run import Run
from rgbir_jax.visualize.overlay import overlay_of_any_size

HEIGHT = 256  # of pictures in pixels
STEPS = 17  # positions of the slider
MOST = 500  # images of one list


class Query(NamedTuple):
    """The image that is looked for.

    Attributes:
        shown: as the page shows it.
        pixels: as the run sees it.
        modality: 0 RGB, 1 IR.
        number: its number in the gallery; None for an upload.
    """

    shown: UInt8[np.ndarray, "height width 3"]
    pixels: UInt8[np.ndarray, "h w 3"]
    modality: int
    number: int | None


@dataclass(frozen=True, eq=False)
class Viewer:
    """Answers the page's questions. `given` is always what the page sent, and is checked.

    Attributes:
        run: the run.
        gallery: the images to look among.
        uploads: images that were sent.
    """

    run: Run
    gallery: Gallery
    uploads: Uploads = field(default_factory=Uploads)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of images as the run sees them, in pixels."""
        height, width = self.run.facts.image_size
        return height, width

    @property
    def shown_size(self) -> tuple[int, int]:
        """The height and width of the page's pictures in pixels."""
        return HEIGHT, round(HEIGHT * self.image_size[1] / self.image_size[0])

    def about(self) -> dict[str, Any]:
        """Describes the run and the gallery, and says why the run generates no images or has no maps, if so."""
        gallery = self.gallery
        return {
            "run": self.run.name,
            "dataset": self.run.facts.dataset,
            "gallery": gallery.folder.resolve().name,
            "images": len(gallery),
            "people": len(set(gallery.person) - {""}),
            "cameras": [_camera(gallery, int(number)) for number in np.unique(gallery.camera[gallery.camera > 0])],
            "modalities": {name: int(np.sum(gallery.modality == kind)) for kind, name in enumerate(MODALITIES)},
            "height": self.image_size[0],
            "width": self.image_size[1],
            "largest_upload": LARGEST,
            "no_swap": _reason(self.run.check_generates),
            "no_maps": _reason(self.run.check_explains),
        }

    def picture(self, number: int) -> bytes:
        """Returns a picture of a gallery image as JPEG."""
        return _jpeg(self.gallery.read(number, self.shown_size))

    def add(self, upload: Upload) -> dict[str, Any]:
        """Keeps an upload. Returns its name, the modality that is guessed, and a picture of it."""
        name, modality = self.uploads.add(upload), MODALITIES[_guessed(upload)]
        return {"upload": name, "modality": modality, "picture": _data(upload.shown)}

    def search(self, given: dict[str, Any]) -> dict[str, Any]:
        """Lists the gallery, nearest to a query first; without a query, in its own order.

        Args:
            given: `query` (see `query`) or None; `cameras`, `modality` and `top` of the list.
        """
        cameras, modality, top = given.get("cameras") or [], _modality(given.get("modality")), given.get("top", 60)
        if not isinstance(cameras, list) or not all(type(camera) is int for camera in cameras):
            raise UserError("cameras must be a list of numbers.")
        if type(top) is not int or not 1 <= top <= MOST:
            raise UserError(f"top must be a number from 1 to {MOST}.")
        shown = self.gallery.chosen(cameras, modality)
        if given.get("query") is None:
            rows = np.flatnonzero(shown)
            images = [self._described(row) for row in rows[:top].tolist()]
            return {"total": len(rows), "images": images}
        query = self.query(given["query"])
        if query.number is not None:
            shown[query.number] = False
        rows = np.flatnonzero(shown)
        vectors = self.gallery.vectors[rows]
        order, distance = nearest(self._vector(query), vectors, top=top, place=rows, size=len(self.gallery))
        images = [
            self._described(row, query) | {"rank": rank, "distance": round(value, 4)}
            for rank, (row, value) in enumerate(zip(order[0].tolist(), distance[0].tolist(), strict=True), 1)
        ]
        return {"total": len(rows), "images": images}

    def maps(self, given: dict[str, Any]) -> dict[str, str]:
        """Returns pictures of a query and of a gallery image, `match`, with their activation maps laid over them."""
        query, match = self._pair(given)
        maps = self.run.explain(query.pixels, match.pixels, query.modality, match.modality)
        return {
            "query": _data(overlay_of_any_size(query.shown, maps.query[0])),
            "match": _data(overlay_of_any_size(match.shown, maps.gallery[0])),
        }

    def swap(self, given: dict[str, Any]) -> dict[str, list[str]]:
        """Generates a query and a gallery image, `match`, from their own appearance to that of the other.

        Returns:
            `query` and `match`, named by the image that gives the structure: `STEPS` pictures each. The first has the
            image's own appearance, the last is the swap.
        """
        query, match = self._pair(given)
        both = np.stack([query.pixels, match.pixels])
        generated = self.run.interpolate(both, both, both[::-1], STEPS)
        return {name: [_data(image) for image in row] for name, row in zip(("query", "match"), generated, strict=True)}

    def first_calls(self) -> list[Callable[[], Any]]:
        """Returns calls that compile what the first look at a query and a pair needs."""
        black = np.zeros((2, *self.image_size, 3), np.uint8)
        calls: list[Callable[[], Any]] = [lambda: self.run.features(black[:1], 0)]
        if not _reason(self.run.check_explains):
            calls.append(lambda: self.run.explain(black[:1], black[:1], 0, 0))
        if not _reason(self.run.check_generates):
            calls.append(lambda: self.run.interpolate(black, black, black, STEPS))
        return calls

    def query(self, given: Any) -> Query:
        """Reads a query.

        Args:
            given: `number` in the gallery, or the name of an `upload` with its `modality`; None: it is guessed.
        """
        if not isinstance(given, dict):
            raise UserError("the query must be an image of the gallery or an upload.")
        if "number" in given:
            number = self.gallery.check(given["number"])
            shown, pixels = (self.gallery.read(number, size) for size in (self.shown_size, self.image_size))
            return Query(shown, pixels, int(self.gallery.modality[number]), number)
        upload, modality = self.uploads[given.get("upload")], _modality(given.get("modality"))
        return Query(upload.shown, upload.pixels, _guessed(upload) if modality is None else modality, None)

    def _pair(self, given: dict[str, Any]) -> tuple[Query, Query]:
        return self.query(given.get("query")), self.query({"number": given.get("match")})

    def _vector(self, query: Query) -> Float[np.ndarray, "1 dim"]:
        if query.number is not None:
            return self.gallery.vectors[[query.number]]
        return np.asarray(self.run.features(query.pixels[None], query.modality))

    def _described(self, number: int, query: Query | None = None) -> dict[str, Any]:
        gallery = self.gallery
        person = gallery.person[number]
        looked_for = gallery.person[query.number] if query and query.number is not None else ""
        return {
            "number": number,
            "path": gallery.paths[number],
            "person": person,
            "camera": int(gallery.camera[number]),
            "modality": MODALITIES[gallery.modality[number]],
            "right": person == looked_for if person and looked_for else None,
        }


def _camera(gallery: Gallery, number: int) -> dict[str, Any]:
    kinds = gallery.modality[gallery.camera == number]
    return {"number": number, "images": len(kinds), "modality": MODALITIES[int(kinds[0])] if len({*kinds}) == 1 else ""}


def _modality(given: Any) -> int | None:
    if given is None:
        return None
    if given not in MODALITIES:
        raise UserError(f"a modality must be {' or '.join(MODALITIES)}.")
    return MODALITIES.index(given)


def _guessed(upload: Upload) -> int:
    return int(has_equal_channels(upload.pixels[None])[0])


def _reason(check: Callable[[], None]) -> str:
    """Returns the sentence of the UserError that a check raises; empty if it raises none."""
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


def _jpeg(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=92)
    return content.getvalue()


def _data(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """Returns a picture as the address of an <img>, which contains it."""
    return f"data:image/jpeg;base64,{base64.b64encode(_jpeg(pixels)).decode()}"
