"""Ranked lists as pictures: one HTML page that needs no other file, or one PNG."""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from rgbir_jax.data.decoding import LARGEST, decode
from rgbir_jax.errors import UserError, one_line
from rgbir_jax.files import whole_file
from rgbir_jax.search.ranking import Ranking, mark
from rgbir_jax.visualize.overlay import overlay_of_any_size

HEIGHT = 128  # of a thumbnail in pixels
GAP, LINE = 8, 14  # pixels between thumbnails, and of a line of text
MOST = 10_000  # images of a page, some 40 MB
GREY = (200, 200, 200)  # in place of a file that cannot be read any more

_NARROW = '<meta name="viewport" content="width=device-width, initial-scale=1">'
# The colours are those of the page of rgbir-browse.
_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f8; --text: #1b2230; --muted: #566074; }
@media (prefers-color-scheme: dark) { :root { --page: #11141a; --text: #e6e9f0; --muted: #a2acbf; } }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
body { background: var(--page); color: var(--text); }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere; }
ol { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0; padding: 0; list-style: none; }
li { width: 6.5rem; font-size: .8rem; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
li.query { border-right: 3px solid var(--muted); padding-right: .6rem; }
img { display: block; } small { color: var(--muted); }
"""

# Activation maps of a query's list, by the number of the query: of the query with its first match, then of each match.
# None for an image without one.
Maps = Callable[[int], Sequence[Float32[np.ndarray, "h w"] | None]]
EXPLAINED = (
    "Below each image: where its similarity to the query comes from (Grad-CAM); the query's is that to match 1. In a "
    "dark image, no position adds to the similarity."
)


def write_page(path: Path, ranking: Ranking, image_size: tuple[int, int], title: str, maps: Maps | None = None) -> None:
    """Writes ranked lists as an HTML page with thumbnails inside.

    Args:
        path: the file.
        ranking: the lists.
        image_size: (height, width) of images, for the shape of thumbnails.
        title: the headline.
        maps: activation maps, which are shown below the images; None: there are none.

    Raises:
        UserError: if the file cannot be written, or if the page would be too large to open.
    """
    rows, columns = len(ranking.order), ranking.order.shape[1] + 1
    if (count := rows * columns * (2 if maps else 1)) > MOST:
        raise UserError(
            f"{path} would have {count:,} images, and a page has at most {MOST:,}; list fewer, or write values (.json)."
        )
    thumbnail = _thumbnails(image_size)

    def picture(image: Image.Image) -> str:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=85)
        source = base64.b64encode(content.getvalue()).decode()
        return f'<img alt="" width="{image.width}" height="{HEIGHT}" src="data:image/jpeg;base64,{source}">'

    parts = [f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n{_NARROW}\n<title>{escape(title)}</title>']
    parts += [f"<style>{_STYLE}</style>", f"<h1>{escape(title)}</h1>"]
    parts += [f"<p>{escape(EXPLAINED)}</p>"] * bool(maps)
    for number, query in enumerate(ranking.as_json()):
        images = [Path(image["path"]) for image in (query, *query["matches"])]
        pictures = ["".join(map(picture, column)) for column in _columns(images, thumbnail, maps and maps(number))]
        parts += [f"<h2>{escape(query['path'])}</h2>", "<ol>"]
        parts.append(f'<li class="query">{pictures[0]}query<br>{query["modality"]}</li>')
        parts += [
            f"<li>{shown}{match['rank']}. {match['distance']:.3f} {match['modality']}"
            f"{_marked(match)}<br><small>{escape(match['path'])}</small></li>"
            for shown, match in zip(pictures[1:], query["matches"], strict=True)
        ]
        parts.append("</ol>")
    with whole_file(path) as file:
        file.write("\n".join([*parts, "</html>\n"]).encode(errors="backslashreplace"))


def write_sheet(path: Path, ranking: Ranking, image_size: tuple[int, int], maps: Maps | None = None) -> None:
    """Writes ranked lists as a PNG: a row per query, with the query first.

    Args:
        path: the file.
        ranking: the lists.
        image_size: (height, width) of images, for the shape of thumbnails.
        maps: activation maps, which are shown below the images; None: there are none.

    Raises:
        UserError: if the file cannot be written, or if the picture would be too large to look at.
    """
    thumbnail, font = _thumbnails(image_size), ImageFont.load_default(11)
    width = max(_shape(image_size)[1], 64) + GAP
    tall = HEIGHT * (2 if maps else 1)
    lines_below = 3 if ranking.same is None else 4  # rank, modality, the threshold's word, the file's name
    height = tall + lines_below * LINE + GAP
    rows, columns = len(ranking.order), ranking.order.shape[1] + 1
    size = columns * width + GAP, rows * height + GAP
    if size[0] * size[1] > LARGEST:
        raise UserError(
            f"{path} would have {size[0]:,} x {size[1]:,} pixels; list fewer images, or write a page (.html)."
        )
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, query in enumerate(ranking.as_json()):
        cells = [(Path(query["path"]), "query", query["modality"])]
        cells += [
            (Path(match["path"]), f"{match['rank']}. {match['distance']:.3f}", match["modality"], *_word(match))
            for match in query["matches"]
        ]
        columns_of_row = _columns([image for image, *_ in cells], thumbnail, maps and maps(row))
        for column, (shown, (file, *lines)) in enumerate(zip(columns_of_row, cells, strict=True)):
            x, y = GAP + column * width, GAP + row * height
            for number, image in enumerate(shown):
                sheet.paste(image, (x, y + number * HEIGHT))
            lines.append(shortened(one_line(file.name), width - GAP, font.getlength))
            for number, line in enumerate(lines):
                pen.text((x, y + tall + number * LINE), line, "black", font)
    with whole_file(path) as file:
        sheet.save(file, "PNG")


def shortened(name: str, width: int, length: Callable[[str], float]) -> str:
    """Returns a file's name. If it is too long, its ending is left out, and then "…" stands for its middle.

    The beginning and the end tell it from other names, such as those of the frames of a camera.

    Args:
        name: the name.
        width: the length that there is room for.
        length: measures a text in the same unit.
    """
    if length(name) <= width:
        return name
    shown = stem = name.rpartition(".")[0] or name
    for keep in range(len(stem) - 1, 0, -1):
        if length(shown) <= width:
            break
        shown = f"{stem[: keep // 2]}…{stem[len(stem) - (keep - keep // 2) :]}"
    return shown


def _word(match: dict) -> tuple[str, ...]:
    """Returns the mark of a match as a line; none without a threshold."""
    return (mark(match),) if mark(match) else ()


def _marked(match: dict) -> str:
    """Returns the mark of a match as a line of HTML; empty without a threshold."""
    return f"<br><b>{mark(match)}</b>" if mark(match) else ""


def _columns(
    images: Sequence[Path],
    thumbnail: Callable[[Path], Image.Image],
    maps: Sequence[Float32[np.ndarray, "h w"] | None] | None,
) -> list[list[Image.Image]]:
    """Returns the thumbnail of each image and, if there are maps, the same with its map."""
    columns = [[thumbnail(image)] for image in images]
    for column, values in zip(columns, maps or (), strict=bool(maps)):
        plain = column[0]
        column.append(plain if values is None else Image.fromarray(overlay_of_any_size(np.asarray(plain), values)))
    return columns


def _shape(image_size: tuple[int, int]) -> tuple[int, int]:
    return HEIGHT, round(HEIGHT * image_size[1] / image_size[0])


def _thumbnails(image_size: tuple[int, int]) -> Callable[[Path], Image.Image]:
    height, width = _shape(image_size)

    def thumbnail(path: Path) -> Image.Image:
        try:
            return Image.fromarray(np.array(decode(path, (height, width))))
        except UserError:
            return Image.new("RGB", (width, height), GREY)

    return thumbnail
