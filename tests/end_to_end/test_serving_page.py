"""The page of `polymodal serve`, in Chromium and against a real server, used as a person would."""

import base64
import contextlib
import io
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import PIL.Image
import pytest
import torch
from commands import process
from test_report_page import ARGUMENTS, HOSTILE, every_type

from polymodal import build

pytest.importorskip("fastapi", reason="the extra serve is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")

TRAIN = ["train", "polydigits", "--model", "mvae", "--set", "rows=200", "--set", "held_out_rows=50"]
TRAIN += ["--set", "widths=8,16", "--latent-dim", "8", "--seed", "3", "--device", "cpu", "--epochs", "2"]
IMAGES = ("m0", "m1", "m2", "m3", "m4")
TOKEN = "a-token-for-tests"
MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""Options of Chromium for a microphone that beeps."""


@pytest.fixture(scope="module")
def chromium():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *MICROPHONE])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The address of `polymodal serve` for a run on polydigits, as a process."""
    folder = tmp_path_factory.mktemp("serving") / "small"
    done = process(*TRAIN, "--folder", folder)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "polymodal", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        yield re.search(r"http://[0-9.:]+", line)[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def start(app):
    """Starts a server in a thread of this process; returns it and its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.02)
    return server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def serve():
    """A function that serves a model of every type of modality, with any arguments of `create_app`."""
    from polymodal.serving import create_app

    table, servers = every_type(), []
    torch.manual_seed(0)
    model = build("mvae", table.schema, latent_dim=4)

    def run(**arguments):
        server, address = start(create_app(model, name=HOSTILE, examples=table, **arguments))
        servers.append(server)
        return address

    yield run
    for server in servers:
        server.should_exit = True


@pytest.fixture(scope="module")
def every(serve):
    return serve()


class Tab:
    """A tab, with what went wrong in it and what it asked for."""

    def __init__(self, browser, address, width=1280, scheme="light", context=None, wait=True):
        from playwright.sync_api import expect

        self.expect = expect
        self.context = context or browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.trouble, self.requests = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.address = address.partition("#")[0]
        if wait:
            expect(self.page.locator("#status")).not_to_be_empty()
            self.settle()

    def settle(self):
        """Waits until the predictions belong to the inputs."""
        self.page.wait_for_timeout(250)  # longer than the page waits for further changes
        self.expect(self.page.locator("#cards")).not_to_have_attribute("aria-busy", "true")

    def card(self, name):
        return self.page.get_by_role("region", name=name, exact=True)

    def choose(self, name, mode):
        self.card(name).get_by_role("radio", name=mode).check(force=True)
        self.settle()

    def status(self):
        return self.page.locator("#status").inner_text()

    def predictions(self):
        """All that the page shows as predictions: texts, and images as data."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.output')].filter(one => !one.hidden).map(one => "
            "[one.innerText, [...one.querySelectorAll('img')].map(image => image.src)])"
        )

    def draw(self, name, points):
        pad = self.card(name).locator("canvas")
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()
        self.settle()

    def drop(self, name, file, content):
        """Drops a file on the input of a card."""
        transfer = self.page.evaluate_handle(
            "([name, text]) => { const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));"
            "const transfer = new DataTransfer(); transfer.items.add(new File([bytes], name)); return transfer; }",
            [file, base64.b64encode(content).decode()],
        )
        self.card(name).locator(".pad-frame").dispatch_event("drop", {"dataTransfer": transfer})
        self.settle()

    def close(self):
        """Closes the tab after checking that it was quiet and asked only its own server."""
        assert self.trouble == []
        assert [url for url in self.requests if not url.startswith((self.address, "data:", "blob:"))] == []
        self.context.close()


def write_png(color, size=(16, 16)):
    PIL.Image.new("RGB", size, color).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def test_draws_drops_samples_and_shares(chromium, digits):
    tab = Tab(chromium, digits)
    assert tab.page.get_by_role("heading", level=1).inner_text() == "small"
    assert tab.status() == "Predicted m1, m2, m3, m4 and label from m0."
    before = tab.predictions()
    card = tab.card("m0")
    card.get_by_role("button", name="Clear").click()
    tab.settle()
    assert "Nothing is given" in tab.status()
    assert "Empty, so it counts as missing." in card.inner_text()
    tab.draw("m0", [(0.3, 0.2), (0.7, 0.2), (0.45, 0.9)])
    assert tab.status() == "Predicted m1, m2, m3, m4 and label from m0."
    drawn = tab.predictions()
    assert [len(images) for _, images in drawn] == [1, 1, 1, 1, 0]
    assert re.search(r"\d+ %", drawn[-1][0])
    assert drawn != before
    assert "Actual" not in tab.page.locator("main").inner_text()  # the drawing is no test row

    tab.choose("m3", "Given")
    assert "Use the prediction" in tab.card("m3").inner_text()
    tab.drop("m3", "red.png", write_png("red", (40, 30)))
    assert tab.status() == "Predicted m1, m2, m4 and label from m0 and m3."
    assert tab.predictions()[0] != drawn[0]

    tab.page.get_by_role("radio", name="4", exact=True).check(force=True)
    tab.settle()
    assert tab.card("m1").get_by_role("listitem").count() == 4
    assert "Samples with the same number belong together" in tab.status()
    tab.card("m1").get_by_role("listitem").nth(2).hover()
    lit = tab.page.locator("li.lit")
    assert lit.evaluate_all("all => all.map(one => one.dataset.sample)") == ["2"] * 4

    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.get_by_role("button", name="Copy link").click()
    tab.expect(tab.page.locator("#copy")).to_have_text("Copied")
    link = tab.page.evaluate("navigator.clipboard.readText()")
    other = Tab(chromium, link, context=tab.context)
    assert other.predictions() == tab.predictions()
    assert other.status() == tab.status()
    for name in ("m0", "m3"):
        read = "canvas => canvas.toDataURL()"
        drawing = PIL.Image.open(io.BytesIO(base64.b64decode(tab.card(name).locator("canvas").evaluate(read)[22:])))
        shown = PIL.Image.open(io.BytesIO(base64.b64decode(other.card(name).locator("canvas").evaluate(read)[22:])))
        means = [image.convert("RGB").resize((16, 16), PIL.Image.Resampling.BOX) for image in (drawing, shown)]
        assert list(means[0].tobytes()) == pytest.approx(list(means[1].tobytes()), abs=1)
    assert other.trouble == []
    tab.close()


def test_draws_with_a_finger_without_scrolling(chromium, digits):
    context = chromium.new_context(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    tab = Tab(chromium, digits, context=context)
    tab.card("m0").get_by_role("button", name="Clear").tap()
    tab.settle()
    box = tab.card("m0").locator("canvas").bounding_box()
    touch = tab.context.new_cdp_session(tab.page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        point = {"x": x, "y": y + step * box["height"] / 16}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.settle()
    assert tab.status() == "Predicted m1, m2, m3, m4 and label from m0."
    assert tab.card("m0").locator("canvas").bounding_box()["y"] == pytest.approx(box["y"], abs=2)
    tab.close()


def test_steps_through_test_rows(chromium, digits):
    tab = Tab(chromium, digits)
    assert "Test row 1 of 50" in tab.page.locator("#tools").inner_text()
    before = tab.predictions()
    tab.page.get_by_role("button", name="Another test row").click()
    tab.settle()
    assert "Test row 2 of 50" in tab.page.locator("#tools").inner_text()
    assert tab.predictions() != before
    label = tab.card("label")
    actual = re.search(r"Actual\s+(\d)", label.inner_text())[1]
    tab.choose("label", "Given")
    assert label.get_by_role("combobox").evaluate("one => one.selectedOptions[0].text") == actual
    tab.close()


def test_samples_rows_when_nothing_is_given(chromium, digits):
    tab = Tab(chromium, digits)
    tab.choose("m0", "Predict")
    assert "Nothing is given, so these are unconditional samples" in tab.status()
    before = tab.predictions()
    assert [len(images) for _, images in before] == [1] * 5 + [0]
    tab.page.get_by_role("button", name="New samples").click()
    tab.settle()
    assert tab.predictions() != before
    for name in (*IMAGES, "label"):
        tab.choose(name, "Given")
    assert "Everything is given" in tab.status()
    tab.close()


def test_works_with_the_keyboard_alone(chromium, digits):
    tab = Tab(chromium, digits)
    focused = "document.activeElement.closest('section')?.querySelector('h2').textContent ?? document.activeElement.id"
    seen = []
    while "m1" not in seen and len(seen) < 40:
        tab.page.keyboard.press("Tab")
        seen.append(tab.page.evaluate(focused))
    assert "example" in seen
    assert seen[-1] == "m1"
    assert tab.page.evaluate("getComputedStyle(document.activeElement.nextElementSibling).outlineStyle") == "solid"
    tab.page.keyboard.press("ArrowLeft")
    tab.settle()
    assert tab.card("m1").get_by_role("radio", name="Given").is_checked()
    assert tab.status() == "Predicted m2, m3, m4 and label from m0 and m1."
    tab.close()


def test_ignores_a_damaged_link(chromium, digits):
    tab = Tab(chromium, f"{digits}/#2.thisisnothing")
    assert "The link is damaged" in tab.page.locator("#notice").inner_text()
    assert tab.status() == "Predicted m1, m2, m3, m4 and label from m0."
    tab.choose("m0", "Predict")
    fragment = tab.page.evaluate("location.hash")
    tab.choose("m0", "Given")
    tab.page.evaluate("hash => { location.hash = hash; }", fragment)
    tab.settle()
    assert tab.card("m0").get_by_role("radio", name="Predict").is_checked()
    tab.close()


def test_shows_every_kind_and_hostile_names_as_text(chromium, every):
    tab = Tab(chromium, every)
    assert tab.page.get_by_role("heading", level=1).inner_text() == HOSTILE
    assert tab.card(HOSTILE).get_by_role("table").get_by_role("row").count() == 1 + 12
    assert HOSTILE in tab.card("species").inner_text()
    assert tab.card("song").get_by_role("img").count() >= 1
    tab.choose("species", "Given")
    tab.card("species").get_by_role("combobox").select_option(label="robin")
    tab.choose("caption", "Given")
    tab.card("caption").get_by_role("textbox").fill("a bird sings")
    tab.choose("size", "Given")
    tab.card("size").get_by_label("size 1").fill("99.5")
    tab.settle()
    assert "Enter all 2 numbers" in tab.card("size").inner_text()
    tab.card("size").get_by_label("size 2").fill("9")
    tab.settle()
    assert tab.status() == f"Predicted song and {HOSTILE} from photo, species, size and caption."
    tab.page.reload()
    tab.expect(tab.page.locator("#status")).to_have_text(
        f"Predicted song and {HOSTILE} from photo, species, size and caption."
    )
    assert tab.card("caption").get_by_role("textbox").input_value() == "a bird sings"
    assert tab.card("size").get_by_label("size 1").input_value() == "99.5"
    assert tab.page.evaluate("document.scripts.length") == 2
    tab.close()


def test_shows_the_spectrogram_of_an_audio_file_as_the_model_reads_it(chromium, every):
    soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
    tab = Tab(chromium, every)
    audio = every_type().schema["song"]
    wave = torch.sin(2 * torch.pi * 700 * torch.arange(audio.frames * 256) / audio.rate) * 0.5
    soundfile.write(file := io.BytesIO(), wave.numpy(), audio.rate, format="WAV", subtype="PCM_16")
    tab.choose("song", "Given")
    tab.drop("song", "tone.wav", file.getvalue())
    assert "from photo and song" in tab.status()
    canvas = tab.card("song").get_by_role("img", name="Spectrogram of the given song")
    shown = canvas.evaluate("one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]")
    pixels = torch.tensor(shown).reshape(audio.mels, audio.frames, 4)[..., :3].float()
    expected = audio.show(audio.read(file.getvalue()))
    reference = torch.frombuffer(bytearray(expected.tobytes()), dtype=torch.uint8).float()
    assert float((pixels.flatten() - reference).abs().mean()) < 12  # the colours are close to magma, and not the same
    tab.close()


def test_records_from_the_microphone(chromium, every):
    tab = Tab(chromium, every)
    tab.choose("song", "Given")
    song = tab.card("song")
    song.get_by_role("button", name="Clear").click()
    tab.settle()
    assert tab.status().endswith("from photo.")
    song.get_by_role("button", name="Record").click()
    tab.expect(tab.page.locator("#status")).to_contain_text("from photo and song")
    assert song.get_by_role("button", name="Record").is_visible()
    assert song.get_by_role("img", name="Spectrogram of the given song").is_visible()
    assert song.locator("audio").evaluate("one => one.src").startswith("blob:")
    tab.close()


def test_shows_the_predictions_of_the_newest_inputs(chromium, every):
    tab, held = Tab(chromium, every), []
    tab.choose("species", "Given")
    tab.page.route("**/api/translate", lambda route: held.append(route))
    species = tab.card("species").get_by_role("combobox")
    species.select_option(label="robin")
    tab.page.wait_for_timeout(400)
    assert len(held) == 1
    assert tab.page.locator("#cards").get_attribute("aria-busy") == "true"
    tab.page.unroute("**/api/translate")
    species.select_option(label="great tit")
    tab.settle()
    newest = tab.predictions()
    with contextlib.suppress(Exception):
        held[0].continue_()  # the page has given this request up
    tab.settle()
    assert tab.predictions() == newest
    tab.page.reload()
    tab.settle()
    assert tab.predictions() == newest
    tab.close()


def test_reports_that_the_server_has_gone_and_recovers(chromium, every):
    tab = Tab(chromium, every)
    tab.page.route("**/api/translate", lambda route: route.abort())
    tab.choose("species", "Given")
    tab.card("species").get_by_role("combobox").select_option(label="robin")
    tab.expect(tab.page.locator("#alert")).to_contain_text("The server does not answer")
    tab.page.unroute("**/api/translate")
    tab.card("species").get_by_role("combobox").select_option(label="great tit")
    tab.expect(tab.page.locator("#status")).to_contain_text("from photo and species")
    tab.expect(tab.page.locator("#alert")).to_be_hidden()
    assert all("ERR_FAILED" in message for message in tab.trouble)  # the browser reports these itself
    tab.context.close()


def test_asks_for_the_token(chromium, serve):
    tab = Tab(chromium, serve(token=TOKEN), wait=False)
    field = tab.page.get_by_label("Token", exact=True)
    field.fill("a wrong token")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_timeout(200)
    tab.expect(field).to_be_visible()
    field.fill(TOKEN)
    tab.page.get_by_role("button", name="Continue").click()
    tab.expect(tab.page.locator("#status")).not_to_be_empty()
    tab.expect(field).to_be_hidden()
    tab.page.reload()
    tab.expect(tab.page.locator("#status")).not_to_be_empty()
    assert all("401" in message for message in tab.trouble)  # the browser reports these itself
    tab.context.close()


def test_shows_an_error_of_the_server_next_to_its_card(chromium, serve):
    from polymodal.serving import Limits

    tab = Tab(chromium, serve(limits=Limits(pixels=100)), wait=False)
    error = tab.card("photo").get_by_role("alert")
    tab.expect(error).to_contain_text("at most 100 pixels; got 16 x 16 = 256")
    tab.choose("photo", "Predict")
    tab.expect(error).to_be_hidden()
    tab.context.close()


LUMINANCE = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const parse = text => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = text; context.fillRect(0, 0, 1, 1);
    const data = context.getImageData(0, 0, 1, 1).data;
    return [data[0], data[1], data[2], data[3] / 255];
  };
  const linear = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const bright = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const below = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const bad = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    const field = element.matches('input:not([type=range], [type=color], [type=file], [type=radio]), textarea, select');
    if (!(own || field) || !element.checkVisibility() || element.closest(':disabled, .unseen, noscript')) continue;
    const style = getComputedStyle(element);
    const [text, ground] = [bright(parse(style.color)), bright(below(element))];
    const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (ratio < 4.5) bad.push(`${element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_is_readable_everywhere(chromium, every, width, scheme):
    tab = Tab(chromium, every, width, scheme)
    tab.page.get_by_role("radio", name="4", exact=True).check(force=True)
    for mode in ("Predict", "Given"):
        for name in every_type().schema:
            tab.card(name).get_by_role("radio", name=mode).check(force=True)
        tab.settle()
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.page.evaluate(LUMINANCE) == []
        snapshot = tab.page.locator("body").aria_snapshot()
        roles = "button|textbox|combobox|radio|slider|spinbutton|img|group|region|link|list|table"
        unnamed = [line for line in snapshot.splitlines() if re.match(rf"\s*- ({roles})( \[[^]]*\])*:?$", line)]
        assert unnamed == []
    tab.close()


def test_follows_and_switches_the_theme(chromium, every):
    tab = Tab(chromium, every, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = tab.page.evaluate(ground)
    tab.page.get_by_role("button", name="Light theme").click()
    light = tab.page.evaluate(ground)
    assert light != dark
    tab.page.reload()
    assert tab.page.evaluate(ground) == light
    tab.close()
