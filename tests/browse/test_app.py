"""The requests of the page: what is answered, and what is refused."""

import base64
import io
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import rgbir_jax
from rgbir_jax.browse import app, uploads
from rgbir_jax.browse.app import STATIC, application
from rgbir_jax.browse.uploads import LARGEST
from rgbir_jax.browse.viewer import STEPS, Viewer
from tests.browse.conftest import encoded
from tests.own_people import person

HOME = "http://127.0.0.1:8000"
IMAGES = 40  # of the gallery


@pytest.fixture(scope="module")
def client(viewer):
    with TestClient(application(viewer), base_url=HOME, raise_server_exceptions=False) as client:
        yield client


def ask(client, what, **question):
    response = client.post(f"/api/{what}", json=question)
    assert response.status_code == 200, response.text
    return response.json()


def send(client, content):
    response = client.post("/api/uploads", content=content)
    assert response.status_code == 200, response.text
    return response.json()


def picture(address):
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def refused(response, status):
    """Checks a refusal: its status and its one sentence, which names no path. Returns the sentence."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    sentence = response.json()["error"]
    assert sentence.endswith(".")
    assert "Traceback" not in sentence
    assert "0x" not in sentence
    return sentence


# ---------------------------------------------------------------- what is answered


def test_the_page_and_its_files_come_from_here(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name, kind in {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}.items():
        assert name in page.text
        assert client.get(f"/{name}").headers["content-type"].startswith(kind)
    for file in STATIC.iterdir():
        addresses = [word for word in file.read_text().split('"') if "//" in word and "://" in word]
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file


def test_the_gallery_is_described(client, viewer, tree):
    about = client.get("/api/about").json()
    files = [path.relative_to(tree).parts for path in tree.rglob("*.jpg")]
    assert (about["run"], about["gallery"], about["images"], about["people"]) == ("drawn", "people", len(files), 4)
    cameras = Counter(camera for camera, *_ in files)
    assert {f"cam{camera['number']}": camera["images"] for camera in about["cameras"]} == cameras
    assert [camera["number"] for camera in about["cameras"]] == [1, 2, 3, 4, 5, 6]
    assert [camera["modality"] for camera in about["cameras"]] == ["rgb", "rgb", "ir", "rgb", "rgb", "ir"]
    night = cameras["cam3"] + cameras["cam6"]
    assert about["modalities"] == {"rgb": len(files) - night, "ir": night}
    assert about["no_swap"] == about["no_maps"] == ""
    assert str(tree.parent) not in json.dumps(about)


def test_an_upload_is_ranked_as_rank_ranks_it(client, viewer, model, tree, photo):
    sent = send(client, photo)
    assert sent["modality"] == "rgb"
    expected = rgbir_jax.rank(model.features(person(40)), viewer.gallery.vectors, top=10)
    found = ask(client, "search", query={"upload": sent["upload"]}, top=10)
    assert found["total"] == IMAGES
    assert [image["number"] for image in found["images"]] == expected.order[0].tolist()
    assert [image["rank"] for image in found["images"]] == list(range(1, 11))
    np.testing.assert_allclose([image["distance"] for image in found["images"]], expected.distance[0], atol=1e-3)
    for image in found["images"]:
        camera, number, _ = image["path"].split("/")
        assert (f"cam{image['camera']}", f"{int(image['person']):04d}") == (camera, number)


def test_images_of_the_gallery_find_their_person_and_not_themselves(client, viewer):
    found = ask(client, "search", query={"number": 7}, top=100)
    assert found["total"] == len(found["images"]) == IMAGES - 1
    assert 7 not in [image["number"] for image in found["images"]]
    right = [image["person"] for image in found["images"] if image["right"]]
    assert set(right) == {viewer.gallery.person[7]}
    assert len(right) == viewer.gallery.person.count(right[0]) - 1


def test_lists_are_filtered_by_camera_and_modality(client, viewer):
    gallery = viewer.gallery
    for query in (None, {"number": 0}):
        some = ask(client, "search", query=query, cameras=[2, 3])
        assert {image["number"] for image in some["images"]} == set(np.flatnonzero(np.isin(gallery.camera, [2, 3])))
        assert some["total"] == len(some["images"])
        night = ask(client, "search", query=query, modality="ir", top=5)
        assert {image["modality"] for image in night["images"]} == {"ir"}
        assert (night["total"], len(night["images"])) == (np.sum(gallery.modality == 1), 5)
        assert ask(client, "search", query=query, cameras=[3], modality="rgb") == {"total": 0, "images": []}


def test_an_image_is_the_one_of_its_number(client, viewer, tree):
    response = client.get("/images/20")
    assert response.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(response.content))).astype(int)
    original = Image.open(tree / viewer.gallery.paths[20]).convert("RGB").resize((128, 256), Image.Resampling.BICUBIC)
    assert np.abs(shown - np.asarray(original).astype(int)).mean() < 4


def test_a_swap_begins_with_oneself_and_ends_with_the_other(client, viewer, model, photo):
    upload = send(client, photo)["upload"]
    swap = ask(client, "swap", query={"upload": upload}, match=3)
    assert len(swap["query"]) == len(swap["match"]) == STEPS
    mine, other = person(40), viewer.gallery.read(3, (64, 32))
    for side, own, appearance in (("query", mine, other), ("match", other, mine)):
        for place, expected in ((0, model.swap(own, own)), (-1, model.swap(own, appearance))):
            assert np.abs(picture(swap[side][place]) - np.asarray(expected).astype(int)).mean() < 4
    moved = [np.abs(picture(swap["query"][place]) - picture(swap["query"][0])).mean() for place in range(STEPS)]
    assert moved[0] < moved[STEPS // 2] < moved[-1]


def test_maps_are_those_of_the_run(client, viewer, model, night_photo):
    upload = send(client, night_photo)["upload"]
    pixels = np.asarray(Image.open(io.BytesIO(night_photo)).convert("RGB"))
    match = ask(client, "search", query={"upload": upload}, top=1)["images"][0]  # an unlike one can have an empty map
    expected = model.explain(pixels, viewer.gallery.read(match["number"], (64, 32)), "ir", match["modality"])
    maps = ask(client, "maps", query={"upload": upload}, match=match["number"])
    for side, one in (("query", expected.query[0]), ("match", expected.gallery[0])):
        shown = picture(maps[side])
        assert shown.shape == (256, 128, 3)
        colour = shown[..., 0] - shown[..., 2]  # red and yellow where the map is high, grey where it is 0
        blocks = colour.reshape(8, 32, 8, 16).mean((1, 3))
        assert np.corrcoef(blocks.ravel(), one.reshape(8, 8, 8, 4).mean((1, 3)).ravel())[0, 1] > 0.6


def test_the_kind_of_camera_is_guessed_and_can_be_corrected(client, monkeypatch, model, viewer, night_photo):
    """Features and maps are computed with it; match 3 is an RGB image."""
    sent, seen = send(client, night_photo), []
    features, explain = type(model).features, type(model).explain
    monkeypatch.setattr(type(model), "features", lambda run, *given: seen.append(given[1:]) or features(run, *given))
    monkeypatch.setattr(type(model), "explain", lambda run, *given: seen.append(given[2:]) or explain(run, *given))
    for modality, number in ((None, 1), ("rgb", 0), ("ir", 1)):
        query = {"upload": sent["upload"], "modality": modality}
        ask(client, "search", query=query)
        ask(client, "maps", query=query, match=3)
        assert seen == [(number,), (number, 0)]
        seen.clear()
    assert (sent["modality"], viewer.gallery.modality[3]) == ("ir", 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_uploads_may_have_these_formats(client, kind):
    assert picture(send(client, encoded(person(1), kind))["picture"]).shape == (256, 128, 3)


# ---------------------------------------------------------------- what is refused

OUTSIDE = [
    "/images/../../../../etc/passwd",
    "/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/images//etc/passwd",
    "/images/cam1/0001/0001.jpg",
    "/images/1.5",
    "/images/-1",
    "/images/1%00",
    f"/images/{IMAGES}",
    "/images/99999999999999999999999",
    "/../app.py",
    "/%2e%2e/app.py",
    "/..%2fapp.py",
    "/%2e%2e/%2e%2e/errors.py",
    "//etc/passwd",
    "/static/",
    "/api",
    "/api/query",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_gallery_is_given(viewer, path):
    """The path is sent as it is: clients usually shorten it."""
    assert asgi_status(application(viewer), path) == 404


def asgi_status(app, path: str, method: str = "GET", parts: list[dict] | None = None) -> int:
    """Sends a request with a raw path, and a body in parts, as a server hands it to the application."""
    import asyncio
    from urllib.parse import unquote

    sent, parts = [], parts or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path), "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize("number", [-1, IMAGES, 10**30, 1.0, "1", "../x", None, True, [1], {"number": 1}])
def test_images_are_named_by_their_number_only(client, number):
    for what, question in (
        ("search", {"query": {"number": number}}),
        ("maps", {"query": {"number": 0}, "match": number}),
        ("swap", {"query": {"number": number}, "match": 0}),
    ):
        refused(client.post(f"/api/{what}", json=question), 400)


@pytest.mark.parametrize(
    "question",
    [
        {"query": "people/1.png"}, {"query": {"path": "/etc/passwd"}}, {"query": {"upload": "../../x"}},
        {"query": {"upload": None}}, {"query": {}}, {"cameras": "1"}, {"cameras": [None]}, {"cameras": [[1]]},
        {"modality": "x"}, {"modality": []}, {"top": 0}, {"top": 501}, {"top": "9"}, {"top": True},
    ],
)  # fmt: skip
def test_other_questions_are_refused(client, question):
    refused(client.post("/api/search", json=question), 400)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"1", b"\xff\xfe", b"[" * 5000])
def test_bodies_that_are_no_question_are_refused(client, content):
    for what in ("search", "maps", "swap"):
        refused(client.post(f"/api/{what}", content=content), 400)


def test_large_bodies_are_refused_before_they_are_read(client):
    refused(client.post("/api/search", content=b"[" * 10_001), 413)
    sentence = refused(client.post("/api/uploads", content=b"x" * (LARGEST + 1)), 413)
    assert "larger than 10 MB" in sentence
    read = 0

    def parts():
        nonlocal read
        for _ in range(300):
            read += 1
            yield b"x" * 100_000

    refused(client.post("/api/uploads", content=parts()), 413)  # says no length
    refused(client.post("/api/uploads", content=b"x", headers={"Content-Length": str(LARGEST + 1)}), 413)


def bomb() -> bytes:
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no image that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image that can be read"),
        (b"<!doctype html><script>alert(1)</script>", "no image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image that can be read"),
        (b"\x89PNG\r\n\x1a\n", "no image that can be read"),
        (encoded(person(1))[:900], "cannot be decoded"),
        (bomb(), "pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_are_no_images_are_refused(client, content, sentence):
    assert sentence in refused(client.post("/api/uploads", content=content), 400)


def test_the_type_of_an_upload_is_that_of_its_content(client, photo):
    response = client.post("/api/uploads?name=../../x.svg", content=photo, headers={"Content-Type": "text/html"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    ["example.com", "127.0.0.1.example.com:8000", "localhost.example.com", "10.0.0.1:8000", "0.0.0.0", "", "@", "["],
)
def test_other_hosts_are_refused(client, host):
    for path in ("/", "/images/0", "/api/about"):
        refused(client.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9000"])
def test_this_machine_is_answered_also_through_another_port(client, host):
    assert client.get("/api/about", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://example.com", "null", "http://127.0.0.1:8001", "https://127.0.0.1:8000", "http://localhost:8000"]
)
def test_other_origins_are_refused(client, origin, photo):
    refused(client.post("/api/search", json={}, headers={"Origin": origin}), 403)
    refused(client.post("/api/uploads", content=photo, headers={"Origin": origin}), 403)
    refused(client.get("/images/0", headers={"Origin": origin}), 403)


def test_pages_of_other_sites_cannot_show_the_images(client):
    for site in ("cross-site", "same-site"):
        fetched = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        refused(client.get("/images/0", headers=fetched), 403)
        refused(client.get("/", headers=fetched), 403)
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        refused(client.get("/images/0", headers=link), 403)
        assert client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, method):
    for path in ("/", "/images/0", "/api/about", "/api/search", "/api/uploads"):
        refused(client.request(method, path), 405)
    refused(client.get("/api/search"), 404)
    refused(client.post("/images/0"), 405)


def test_all_answers_forbid_what_the_page_does_not_need(client, monkeypatch, viewer):
    monkeypatch.setattr(Viewer, "about", lambda self: 1 / 0)
    answers = [client.get("/"), client.get("/page.js"), client.get("/images/0"), client.get("/images/99")]
    answers += [client.get("/", headers={"Host": "x"}), client.post("/api/search", json={}), client.get("/api/about")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 403, 200, 500]
    refused(answers[-1], 500)
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_only_the_latest_uploads_are_kept_and_none_on_the_disk(client, monkeypatch, tmp_path, photo):
    monkeypatch.setattr(uploads, "KEPT", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names = [send(client, photo)["upload"] for _ in range(3)]
    assert "choose its file again" in refused(client.post("/api/search", json={"query": {"upload": names[0]}}), 400)
    ask(client, "search", query={"upload": names[2]})
    assert len({*names}) == 3
    assert list(tmp_path.iterdir()) == []


def test_one_call_of_the_run_at_a_time(viewer, monkeypatch):
    """Other requests are answered while a call waits or runs."""
    import threading
    import time

    running, most, release = [], [], threading.Event()

    def slow(self, given):
        running.append(1)
        most.append(len(running))
        release.wait(10)
        running.pop()
        return {}

    monkeypatch.setattr(Viewer, "swap", slow)
    monkeypatch.setattr(Viewer, "first_calls", lambda self: [])
    with TestClient(application(viewer), base_url=HOME) as client:
        threads = [threading.Thread(target=lambda: client.post("/api/swap", json={})) for _ in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while not running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.get("/images/0").status_code == 200
        assert client.get("/api/about").status_code == 200
        release.set()
        for thread in threads:
            thread.join()
    assert most == [1, 1, 1]


def test_large_uploads_are_decoded_one_at_a_time(client, monkeypatch, photo):
    """Each of them may take hundreds of megabytes."""
    import threading
    import time

    running, most = [], []

    def slow(content, *sizes):
        running.append(1)
        most.append(len(running))
        time.sleep(0.1)
        running.pop()
        return uploads.read_upload(content, *sizes)

    monkeypatch.setattr(app, "read_upload", slow)
    threads = [threading.Thread(target=lambda: send(client, photo)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize("path", ["/api/uploads", "/api/search"])
def test_a_page_that_is_closed_while_it_sends_is_no_error(viewer, path):
    parts = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    assert asgi_status(application(viewer), path, "POST", parts) == 204


def test_an_image_that_is_gone_or_was_replaced_is_one_sentence(client, viewer, tree, tmp_path):
    """Its features are those of the former file, so lists stay as they are."""
    file, name = tree / viewer.gallery.paths[11], viewer.gallery.paths[11]
    before = ask(client, "search", query={"number": 3})
    kept = shutil.move(file, tmp_path / "kept")
    try:
        for content in (None, encoded(person(41)), b"no image"):
            change = "was replaced" if content else "is gone"
            if content:
                file.write_bytes(content)
            sentence = f"{name} {change} since rgbir-browse was started; start it again to see the new gallery."
            assert refused(client.get("/images/11"), 404) == sentence
            for what, question in (
                ("search", {"query": {"number": 11}}),
                ("maps", {"query": {"number": 11}, "match": 0}),
                ("swap", {"query": {"number": 0}, "match": 11}),
            ):
                assert refused(client.post(f"/api/{what}", json=question), 400) == sentence
            assert ask(client, "search", query={"number": 3}) == before
    finally:
        shutil.move(kept, file)
    assert client.get("/images/11").status_code == 200
