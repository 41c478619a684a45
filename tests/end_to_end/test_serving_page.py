"""The page of `polymodal serve`, used in a browser as a person would."""

import base64
import io
import re
import shutil
import subprocess
import sys
import threading
import time
import wave
from contextlib import contextmanager

import PIL.Image
import pytest
import torch
from commands import process
from test_report_page import ARGUMENTS, HOSTILE, every_type

from polymodal import Label, Schema, Table, Vector, build

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytestmark = pytest.mark.browser

TRAIN = ["train", "polydigits", "--set", "rows=200", "--set", "held_out_rows=50", "--set", "widths=8,16"]
TRAIN += ["--set", "draws=2", "--set", "prior=flow", "--set", "prior_epochs=2"]
TRAIN += ["--latent-dim", "8", "--seed", "3", "--device", "cpu", "--epochs", "2"]

CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const paper = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.body.querySelectorAll("*")) {
    const holds = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
      || (element.matches("input, textarea, select") && !element.matches("[type=radio], [type=range], [type=color]"));
    if (!holds || !element.checkVisibility()) continue;
    const [text, back] = [luminance(parse(getComputedStyle(element).color)), luminance(paper(element))];
    const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    if (ratio < 4.5) low.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return low;
}
"""
"""Elements with text whose contrast is less than 4.5, as WCAG 2.2 defines it."""


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with sync.sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield program
        program.close()


@pytest.fixture(scope="module")
def digits(browser, tmp_path_factory):
    """The address of a server process of a small run on polydigits."""
    folder = tmp_path_factory.mktemp("page")
    done = process(*TRAIN, "--folder", folder / "small")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-u", "-m", "polymodal.cli.app", "serve", str(folder / "small"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found is not None
        yield found.group()
        server.terminate()
        assert server.wait(30) == 0


@contextmanager
def serve_table(table, **arguments):
    """Serves an untrained model of a table's schema in this process, and yields its address."""
    from polymodal.serving import create_app

    torch.manual_seed(0)
    model = build("mac-wae", table.schema, latent_dim=4, draws=2, hidden=(8,))
    app = create_app(model, name="all kinds", **{"examples": table, **arguments})
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def all_kinds(browser):
    with serve_table(every_type()) as address:
        yield address


class Visit:
    """A tab, what went wrong in it, and what it requested."""

    def __init__(self, browser, width=1280, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.set_default_timeout(15_000)
        self.trouble, self.requests = [], []
        self.tab = self.open_tab()

    def open_tab(self):
        tab = self.context.new_page()
        tab.on("console", lambda message: self.trouble.append(message.text))
        tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        return tab

    def card(self, name, tab=None):
        tab = tab or self.tab
        return tab.locator("section.card").filter(has=tab.get_by_role("heading", name=name, exact=True))

    def wait_for_status(self, text, tab=None):
        (tab or self.tab).locator("#status").filter(has_text=text).wait_for()


@pytest.fixture
def visit(browser):
    visits = []

    def start(address, **arguments):
        visits.append(Visit(browser, **arguments))
        visits[-1].tab.goto(address)
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()


def make_png(color, side=16):
    PIL.Image.new("RGB", (side, side), color).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def drop_file(card, data, name="digit.png"):
    """Drops a file on the input of a card."""
    card.locator(".pad-frame").evaluate(
        """(area, [data, name]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
          area.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [base64.b64encode(data).decode(), name],
    )


def draw_digit(visit, card):
    """Draws a 7 with the mouse."""
    box = card.locator("canvas").bounding_box()
    assert box is not None
    points = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    visit.tab.mouse.move(*places[0])
    visit.tab.mouse.down()
    for place in places[1:]:
        visit.tab.mouse.move(*place, steps=5)
    visit.tab.mouse.up()


def read_outputs(visit, tab, names):
    """What the predicted cards show: images by their data, and all texts."""
    return {
        name: (
            visit.card(name, tab).locator(".output img").evaluate_all("all => all.map((one) => one.src)"),
            visit.card(name, tab).locator(".output").inner_text(),
        )
        for name in names
    }


def test_use_as_a_person_would(digits, visit):
    page = visit(digits)
    page.wait_for_status("Predicted given m0 of test row 0")
    page.card("m0").get_by_role("button", name="Clear").click()
    page.wait_for_status("Nothing is given")
    assert page.card("label").locator("[data-sample]").count() == 1

    draw_digit(page, page.card("m0"))
    page.wait_for_status("Predicted given m0.")
    for name in ("m1", "m2", "m3", "m4"):
        page.card(name).get_by_role("img", name=f"{name}, prediction").wait_for()
    bars = page.card("label").get_by_role("list", name="Probabilities of the classes").locator("li")
    assert bars.count() == 5
    page.card("label").get_by_role("button", name="Show all 10 classes").click()
    assert bars.count() == 10

    page.card("m3").get_by_role("radio", name="Given").check()
    drop_file(page.card("m3"), make_png("tomato"))
    page.wait_for_status("Predicted given m0, m3.")
    page.tab.get_by_role("group", name="Samples", exact=True).get_by_role("radio", name="4").check()
    names = ["m1", "m2", "m4", "label"]
    for name in names:
        page.card(name).get_by_role("button", name=f"{name}, sample 4").wait_for()
        assert page.card(name).locator("[data-sample]").count() == 4
    page.card("m1").get_by_role("button", name="m1, sample 2").hover()
    assert page.tab.locator(".together").count() == len(names)
    assert set(page.tab.locator(".together").evaluate_all("all => all.map((one) => one.dataset.sample)")) == {"1"}

    page.tab.get_by_role("button", name="Copy link").click()
    page.wait_for_status("The link is copied")
    address = page.tab.evaluate("navigator.clipboard.readText()")
    assert address.startswith(f"{digits}/#")
    other = page.open_tab()
    other.goto(address)
    page.wait_for_status("Predicted given m0, m3.", other)
    assert read_outputs(page, other, names) == read_outputs(page, page.tab, names)
    assert page.trouble == []
    assert all(url.startswith((digits, "data:", "blob:")) for url in page.requests)


def test_takes_another_test_row(digits, visit):
    page = visit(digits)
    page.wait_for_status("of test row 0")
    before = read_outputs(page, page.tab, ["m1"])
    page.tab.get_by_role("button", name="Another test row").click()
    page.wait_for_status("of test row 1")
    assert read_outputs(page, page.tab, ["m1"]) != before
    assert "In the test row" in page.card("label").inner_text()
    page.card("label").get_by_role("radio", name="Given").check()
    page.card("label").get_by_role("button", name="Use the test row's value").click()
    page.wait_for_status("Predicted given m0, label of test row 1")
    assert page.trouble == []


def test_is_used_by_keyboard_alone(digits, visit):
    page = visit(digits)
    page.wait_for_status("of test row 0")
    for _ in range(40):
        page.tab.keyboard.press("Tab")
        active = page.tab.evaluate("document.activeElement.closest('.card')?.querySelector('h2').textContent")
        if active == "label":
            break
    assert page.tab.evaluate("document.activeElement.matches('[type=radio]:checked')")
    width = page.tab.evaluate("getComputedStyle(document.activeElement.parentElement).outlineWidth")
    assert float(width.removesuffix("px")) >= 2
    page.tab.keyboard.press("ArrowLeft")
    assert page.card("label").get_by_role("radio", name="Given").is_checked()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.type("7")
    page.wait_for_status("Predicted given m0, label.")
    assert page.card("label").get_by_role("combobox").evaluate("one => one.selectedOptions[0].text") == "7"


def test_follows_the_fragment_and_ignores_a_damaged_one(digits, visit):
    page = visit(digits)
    page.wait_for_status("of test row 0")
    first = page.tab.evaluate("location.hash")
    page.tab.get_by_role("button", name="Another test row").click()
    page.wait_for_status("of test row 1")
    page.tab.evaluate("hash => { location.hash = hash; }", first)
    page.wait_for_status("of test row 0")
    for damaged in ("#zAAAA", "#j!", "#jbnVsbA", "#x", first[:40]):
        page.tab.evaluate("hash => { location.hash = hash; }", damaged)
        page.tab.locator("#alert").filter(has_text="The link is damaged").wait_for()
        page.tab.evaluate("document.getElementById('alert').textContent = ''")
    page.tab.goto(f"{digits}/?again#zAAAA")
    page.wait_for_status("Nothing is given")
    assert "The link is damaged" in page.tab.locator("#alert").inner_text()


def test_every_kind_is_given_and_predicted(all_kinds, visit):
    page = visit(all_kinds)
    page.wait_for_status("Predicted given photo")
    assert page.card(HOSTILE).locator("dd").count() >= 12
    assert HOSTILE in page.card("species").inner_text()
    assert page.card("song").get_by_role("img", name="song, prediction").is_visible()
    page.card("photo").get_by_role("radio", name="Predict").check()
    page.wait_for_status("Nothing is given")
    for name in ("species", "size", "caption", "song", HOSTILE):
        page.card(name).get_by_role("radio", name="Given").check()
    page.card("species").get_by_role("combobox").select_option(HOSTILE)
    page.wait_for_status("Predicted given species")
    fields = page.card("size").get_by_role("spinbutton")
    fields.first.fill("120")
    page.card("size").get_by_text("Fill in all 2 numbers").wait_for()
    fields.last.fill("9.5")
    page.wait_for_status("Predicted given species, size")
    page.card("caption").get_by_role("textbox").fill("a bird sings")
    page.wait_for_status("Predicted given species, size, caption")
    page.card("song").get_by_role("button", name="Use the prediction").click()
    page.wait_for_status("Predicted given species, size, caption, song")
    page.card("photo").get_by_role("img", name="photo, prediction").wait_for()
    assert page.trouble == []


def test_shows_what_the_server_refuses_next_to_the_card(all_kinds, visit):
    page = visit(all_kinds)
    page.wait_for_status("Predicted given photo")
    page.card("size").get_by_role("radio", name="Given").check()
    for field in page.card("size").get_by_role("spinbutton").all():
        field.fill("1e300")
    problem = page.card("size").get_by_role("alert").filter(has_text=re.compile(r"\w"))
    problem.wait_for()
    sent = page.tab.request.post(
        f"{all_kinds}/api/translate", data={"rows": [{"size": [1e300, 1e300]}]}, fail_on_status_code=False
    )
    assert problem.inner_text() in sent.json()["error"]
    for field in page.card("size").get_by_role("spinbutton").all():
        field.fill("1")
    page.wait_for_status("Predicted given photo, size")
    assert problem.count() == 0


def test_tells_that_a_file_is_no_image(digits, visit):
    page = visit(digits)
    page.wait_for_status("of test row 0")
    drop_file(page.card("m0"), b"no image")
    page.card("m0").get_by_role("alert").filter(has_text="not an image").wait_for()


def make_wav(rate=8000, seconds=1):
    with wave.open(file := io.BytesIO(), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"\x00\x20\x00\xe0" * (rate * seconds // 2))
    return file.getvalue()


def test_takes_an_audio_file(all_kinds, visit):
    page = visit(all_kinds)
    page.wait_for_status("Predicted given photo")
    page.card("song").get_by_role("radio", name="Given").check()
    file = {"name": "song.wav", "mimeType": "audio/wav", "buffer": make_wav()}
    page.card("song").get_by_label("Choose an audio file").set_input_files(file)
    page.card("song").get_by_role("img", name="Waveform given as song").wait_for()
    page.wait_for_status("Predicted given photo, song.")
    assert page.tab.evaluate("location.hash").startswith("#z")
    page.tab.reload()
    page.card("song").get_by_role("img", name="Waveform given as song").wait_for()
    page.wait_for_status("Predicted given photo, song.")
    assert page.trouble == []


def test_many_classes_and_numbers(browser, visit):
    schema = Schema(
        {
            "kind": Label(40, names=tuple(f"class {place}" for place in range(40)), hidden=(4,)),
            "curve": Vector(20, hidden=(4,)),
            "grams": Vector(1, hidden=(4,)),
        }
    )
    values = {"kind": torch.arange(4), "curve": torch.randn(4, 20), "grams": torch.randn(4, 1)}
    with serve_table(Table(values, schema=schema), examples=None) as address:
        page = visit(address, width=390)
        page.wait_for_status("Nothing is given")
        assert page.tab.get_by_role("button", name="Another test row").count() == 0
        page.card("curve").get_by_role("img", name="Curve of curve").wait_for()
        page.card("kind").get_by_role("radio", name="Given").check()
        page.card("kind").get_by_role("combobox").fill("class 3")
        page.wait_for_status("Predicted given kind")
        page.card("curve").get_by_role("radio", name="Given").check()
        page.card("curve").get_by_role("textbox").fill("1, 2, 3")
        page.card("curve").get_by_role("alert").filter(has_text="Enter 20 numbers").wait_for()
        page.card("curve").get_by_role("textbox").fill(", ".join(map(str, range(20))))
        page.wait_for_status("Predicted given kind, curve")
        page.card("kind").get_by_role("combobox").fill("no such class")
        page.card("kind").get_by_role("alert").filter(has_text="no such class").wait_for()
        assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_draws_with_a_finger(digits, browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(digits)
    tab.locator("#status").filter(has_text="of test row 0").wait_for()
    canvas = tab.locator("canvas.drawable").first
    assert canvas.evaluate("one => getComputedStyle(one).touchAction") == "none"
    canvas.scroll_into_view_if_needed()
    canvas.tap()
    tab.locator("#status").filter(has_text=re.compile(r"Predicted given m0\.")).wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_asks_for_the_token(browser, visit):
    with serve_table(every_type(), token="correct horse") as address:
        page = visit(address)
        for token in ("wrong", "correct horse"):
            page.tab.get_by_role("textbox", name="Token").fill(token)
            page.tab.get_by_role("button", name="Continue").click()
            if token == "wrong":
                page.tab.locator("#token-problem").filter(has_text="not the server's token").wait_for()
        page.wait_for_status("Predicted given photo")
        page.tab.reload()
        page.wait_for_status("Predicted given photo")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kinds", ["digits", "all_kinds"])
def test_is_readable_and_accessible(visit, request, kinds, width, scheme):
    page = visit(request.getfixturevalue(kinds), width=width, scheme=scheme)
    page.wait_for_status("Predicted given")
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.tab.evaluate(CONTRAST) == []
    for card in page.tab.locator("section.card").all():
        card.get_by_role("radio", name="Given").check()
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.tab.evaluate(CONTRAST) == []
    snapshot = page.tab.locator("body").aria_snapshot()
    control = re.compile(
        r"^\s*- (button|combobox|textbox|spinbutton|slider|radio|img|group|link|searchbox)\b(.*)$", re.M
    )
    controls = control.findall(snapshot)
    assert len(controls) > 20
    assert [one for one in controls if not re.search(r'"[^"]|\'', one[1]) and "/url" not in one[1]] == []
    assert page.trouble == []


def test_chooses_a_theme_of_its_own(digits, visit):
    page = visit(digits, scheme="light")
    page.wait_for_status("of test row 0")
    read = "getComputedStyle(document.body).backgroundColor"
    light = page.tab.evaluate(read)
    page.tab.get_by_role("combobox", name="Theme").select_option("Dark")
    assert page.tab.evaluate(read) != light
    page.tab.reload()
    page.wait_for_status("of test row 0")
    assert page.tab.evaluate(read) != light
