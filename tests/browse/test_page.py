"""The page in Chromium, as a person uses it: by mouse, by keyboard only, narrow and dark."""

import importlib.util
import re
import shutil
import threading
import time

import pytest

from rgbir_jax.browse.app import application
from rgbir_jax.browse.serving import reserve, server
from rgbir_jax.browse.uploads import LARGEST
from rgbir_jax.browse.viewer import STEPS, Viewer
from tests.browse.conftest import encoded
from tests.own_people import person

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LACKS = "Playwright" if importlib.util.find_spec("playwright") is None else "a Chromium" if CHROMIUM is None else ""
pytestmark = pytest.mark.skipif(bool(LACKS), reason=f"{LACKS} is not installed")
WAIT = 60_000  # ms
# Lists the elements that are cut off or reach over the page's edge.
OUTSIDE = """width => [...document.querySelectorAll("main *")].filter((one) => {
  const shown = one.getClientRects().length && one.clientWidth && !one.closest(".unseen");
  const spills = one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX === "visible";
  return shown && (one.getBoundingClientRect().right > width + 0.5 || spills);
}).map((one) => one.outerHTML.slice(0, 80))"""

# Lists the descriptions of images that end in "...".
CUT_OFF = """[...document.querySelectorAll(".tile .who, .tile .where")].filter((one) =>
  one.scrollWidth > one.clientWidth).map((one) => one.textContent)"""


@pytest.fixture(scope="module")
def address(viewer):
    """Serves the page in a thread. Yields its address."""
    taken = reserve(0)
    running = server(application(viewer))
    thread = threading.Thread(target=lambda: running.run(sockets=[taken]))
    thread.start()
    yield f"http://127.0.0.1:{taken.getsockname()[1]}/"
    running.should_exit = True
    thread.join()
    taken.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """Returns a function that opens the page. No script may fail, and nothing is asked of any other address."""
    failures, pages = [], []

    def open_page(width=1280, height=860, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda line: line.type == "error" and failures.append(f"{line.text} {line.location}"))
        page.on("request", lambda request: request.url.startswith((address, "data:")) or failures.append(request.url))
        page.goto(address)
        expect(page.locator(".tile")).to_have_count(40)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not [failure for failure in failures if "status of 4" not in failure]


def expect(*arguments):
    from playwright.sync_api import expect

    return expect(*arguments)


def upload(page, content, name="somebody.png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def ranked(page):
    """Waits for a ranked list. Returns the numbers of its images."""
    expect(page.locator(".tile .rank").first).to_be_visible()
    return [int(tile.get_attribute("data-number")) for tile in page.locator(".tile").all()]


def is_loaded(picture) -> bool:
    return picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")


def test_everything_by_mouse(opened, viewer, photo):
    page = opened()
    assert "40 images, 4 people" in page.locator("#about").inner_text()
    upload(page, photo)
    expected = viewer.search({"query": {"upload": viewer.add(uploaded(viewer, photo))["upload"]}})["images"]
    assert ranked(page) == [image["number"] for image in expected]
    first = page.locator(".tile").first
    for text in (
        f"{expected[0]['distance']:.3f}",
        f"Person {expected[0]['person']}",
        f"Camera {expected[0]['camera']}",
    ):
        expect(first).to_contain_text(text)
    expect(page.locator("#query-text")).to_have_text("somebody.png, taken as RGB")
    assert is_loaded(page.locator("#query-image"))
    assert is_loaded(first.locator("img"))

    page.locator(".chips label", has_text="3").click()
    page.locator(".chips label", has_text="6").click()
    night = [image["number"] for image in expected if image["camera"] in (3, 6)]
    expect(page.locator("#status")).to_contain_text(f"{len(night)} images, nearest first")
    assert ranked(page) == night
    page.locator("#shown-kind label", has_text="RGB").click()
    expect(page.locator("#status")).to_have_text("No image passes the filters.")
    page.locator("#shown-kind label", has_text="All").click()
    expect(page.locator(".tile")).to_have_count(len(night))

    page.locator(".tile").nth(1).click()
    expect(page.locator(".tile").nth(1)).to_have_attribute("aria-pressed", "true")
    for name in ("#first", "#first-map", "#second", "#second-map", "#first-swap", "#second-swap"):
        expect(page.locator(name)).to_have_attribute("src", re.compile("."))
        assert is_loaded(page.locator(name)), name
        assert page.locator(name).get_attribute("alt"), name
    swap = viewer.swap({"query": {"upload": viewer.add(uploaded(viewer, photo))["upload"]}, "match": night[1]})
    slider = page.locator("#mix")
    expect(slider).to_have_attribute("aria-valuetext", "100% of the other's appearance")
    expect(page.locator("#first-swap")).to_have_attribute("src", swap["query"][-1])
    slider.fill("0")
    expect(page.locator("#mix-text")).to_have_text("0%")
    expect(page.locator("#first-swap")).to_have_attribute("src", swap["query"][0])
    expect(page.locator("#second-swap")).to_have_attribute("src", swap["match"][0])

    page.locator("#kind label", has_text="Infrared").click()
    expect(page.locator("#query-text")).to_have_text("somebody.png, used as infrared")
    page.get_by_role("button", name="Use as query").click()
    expect(page.locator("#query-text")).to_contain_text("IR")
    expect(page.locator("#kind")).to_be_hidden()
    expect(page.locator("#pair-shown")).to_be_hidden()
    expect(page.locator(".tile .right").first).to_contain_text("✓ Person")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#query-image")).to_be_hidden()
    expect(page.locator(".tile .rank")).to_have_count(0)


def uploaded(viewer, content):
    from rgbir_jax.browse.uploads import read_upload

    return read_upload(content, viewer.shown_size, viewer.image_size)


def test_everything_by_keyboard(opened):
    page = opened()

    def tab_to(selector):
        """Presses Tab until an element has the focus, which must be visible at each step."""
        for _ in range(80):
            page.keyboard.press("Tab")
            outlined = page.evaluate(
                "() => { let one = document.activeElement; const width = (e) => parseFloat(getComputedStyle(e)"
                ".outlineWidth) * (getComputedStyle(e).outlineStyle !== 'none');"
                "return one === document.body || width(one) >= 2 || width(one.closest('label') ?? one) >= 2; }"
            )
            assert outlined, page.evaluate("document.activeElement.outerHTML")
            if page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to(".skip")
    tab_to("#file")
    tab_to("[name=camera][value='3']")
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_contain_text("Choose one as the query")
    tab_to(".tile")
    page.keyboard.press("Enter")
    ranked(page)
    expect(page.locator(".tile:focus")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#mix")).to_be_enabled()
    expect(page.locator("#first-swap")).to_have_attribute("src", re.compile("."))
    before = page.locator("#first-swap").get_attribute("src")
    page.locator("h1").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    tab_to("#clear")
    tab_to("#use")
    tab_to("#mix")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#mix")).to_have_attribute("aria-valuetext", re.compile(rf"^{round(100 - 100 / (STEPS - 1))}%"))
    expect(page.locator("#first-swap")).not_to_have_attribute("src", before)
    page.keyboard.press("Home")
    expect(page.locator("#mix-text")).to_have_text("0%")
    tab_to("[name=shown]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#status")).to_have_text("No image passes the filters.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_follows_the_scheme(opened, scheme):
    page = opened(400, 800, color_scheme=scheme)
    page.locator(".tile").nth(4).click()
    ranked(page)
    page.locator(".tile").first.click()
    expect(page.locator("#first-swap")).to_have_attribute("src", re.compile("."))
    for width in (1280, 400, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OUTSIDE, width) == []
        assert page.evaluate(CUT_OFF) == []
        left = {round(page.locator(name).bounding_box()["x"]) for name in ("#query", "#pair", "#gallery")}
        assert len(left) == (2 if width == 1280 else 1)
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (max(red, green, blue) < 60) == (scheme == "dark")


def test_what_is_wrong_is_a_sentence_and_the_page_can_be_used_further(opened, photo):
    page = opened()
    alert = page.get_by_role("alert")
    upload(page, b"x" * (LARGEST + 1), "large.png")
    expect(alert).to_have_text("large.png is larger than 10 MB; choose a smaller image.")
    upload(page, b"no image", "text.png")
    expect(alert).to_have_text("This file is no image that can be read; choose a JPEG, PNG, WebP, TIFF or BMP.")
    upload(page, photo)
    expect(alert).to_be_hidden()
    ranked(page)


def test_an_image_can_be_dropped(opened):
    page = opened()
    page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          const drop = (name) => document.body.dispatchEvent(
            new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }));
          drop("dragenter");
          window.wasMarked = document.body.classList.contains("dropping");
          drop("drop");
        }""",
        list(encoded(person(41))),
    )
    ranked(page)
    expect(page.locator("#query-text")).to_have_text("dropped.png, taken as RGB")
    assert page.evaluate("window.wasMarked && !document.body.classList.contains('dropping')")


def test_a_run_without_a_generator_hides_the_swap(opened, viewer, monkeypatch):
    about = viewer.about() | {"no_swap": "teacher generates no images.", "no_maps": "it has no maps."}
    monkeypatch.setattr(Viewer, "about", lambda self: about)
    page = opened()
    page.locator(".tile").first.click()
    ranked(page)
    page.locator(".tile").first.click()
    expect(page.locator("#no-swap")).to_have_text("Teacher generates no images.")
    expect(page.locator("#no-maps")).to_have_text("It has no maps.")
    for hidden in ("#mix", "#first-swap", "#first-map", "#maps-shown"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#second")).to_be_visible()


def test_names_of_files_are_text_and_not_html(opened, photo):
    page = opened()
    upload(page, photo, "<img src=x onerror=alert(1)>.png")
    ranked(page)
    expect(page.locator("#query-text")).to_contain_text("<img src=x onerror=alert(1)>.png")
    assert page.locator("#query-text img").count() == 0


def test_a_server_that_has_ended_is_a_sentence(browser, viewer):
    taken = reserve(0)
    running = server(application(viewer))
    thread = threading.Thread(target=lambda: running.run(sockets=[taken]))
    thread.start()
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    expect(page.locator(".tile").first).to_be_visible()
    running.should_exit = True
    thread.join()
    taken.close()
    time.sleep(0.1)
    page.locator(".tile").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The program does not answer; start rgbir-browse again")
    page.close()
