"""The report: one page that holds all it needs, whatever the modalities and however incomplete the rows."""

import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch

from polymodal import Audio, Image, Label, Schema, Table, Text, Vector, build, evaluate, report

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<script>alert('&')</script>"
WORDS = ("a", "bird", "sings", "quietly", "morning")


def every_type(rows=30):
    """Incomplete rows of every type of modality; what is missing is NaN or out of range."""
    generator = torch.Generator().manual_seed(0)
    schema = Schema(
        {
            "photo": Image(3, 16, 16, widths=(4, 4)),
            "species": Label(3, names=("great tit", "robin", HOSTILE), hidden=(4,)),
            "size": Vector(2, center=(100.0, 10.0), scale=(50.0, 2.0), hidden=(4,)),
            "caption": Text(5, WORDS, width=8, layers=1, heads=1, feedforward=8, hidden=(8,)),
            "song": Audio(8, 16, widths=(4, 4)),
            HOSTILE: Vector(12, hidden=(4,)),
        }
    )
    observed = torch.rand(rows, len(schema), generator=generator) > 0.3
    observed[:, 0] |= ~observed.any(1)
    values = {
        "photo": (torch.rand(rows, 3, 16, 16, generator=generator) * 255).to(torch.uint8),
        "species": torch.randint(3, (rows,), generator=generator),
        "size": torch.randn(rows, 2, generator=generator),
        "caption": torch.randint(3, 8, (rows, 5), generator=generator),
        "song": torch.rand(rows, 1, 8, 16, generator=generator),
        HOSTILE: torch.randn(rows, 12, generator=generator),
    }
    for value, has in zip(values.values(), observed.T, strict=True):
        value[~has] = float("nan") if value.is_floating_point() else 99
    return Table(values, observed, schema)


def forty_labels(rows=12):
    names = [f"attribute_{index}" for index in range(40)]
    schema = Schema({name: Label(2, hidden=(2,)) for name in names}, groups={"attributes": names})
    return Table({name: torch.arange(rows) % 2 for name in names}, schema=schema)


def history(schema, epochs=3):
    terms = [*(f"cost/{name}" for name in schema), "penalty/mmd", "total"]
    columns = {f"{split}/{term}": [2.0, 0.5, 1.0][:epochs] for split in ("train", "validation") for term in terms}
    return pd.DataFrame({"epoch": range(1, epochs + 1), "seconds": 1.0, **columns})


def write(path, table, **arguments):
    model = build("mac-wae", table.schema, latent_dim=4, draws=2, hidden=(8,))
    settings = {"fit": {"epochs": 3, "warmup": 0}, "model": {"weights": {HOSTILE: 1.0}, "clip": None}}
    scores = evaluate(model, table)
    return report.write(
        path, model, table, history=history(table.schema), scores=scores, settings=settings, **arguments
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "report.html", every_type())


@pytest.fixture(scope="module")
def wide_page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "wide.html", forty_labels())


@pytest.fixture(scope="module")
def chromium():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Document(HTMLParser):
    """Headings, ids and tags of a page, and the text of its body."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.ids, self.text, self.headings = [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        self.text += data

    def images(self):
        return [attrs for tag, attrs in self.tags if tag == "img"]


def open_page(browser, path, width, scheme):
    """The page in a browser, and what went wrong or was asked for on the way."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab, trouble, requests = context.new_page(), [], []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri(), wait_until="load")
    tab.wait_for_function("[...document.images].every(image => image.complete)")
    return tab, trouble, requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["page", "wide_page"])
def test_opens_in_a_browser(chromium, name, width, scheme, request):
    path = request.getfixturevalue(name)
    tab, trouble, requests = open_page(chromium, path, width, scheme)
    assert trouble == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert tab.evaluate("document.images.length") > 0
    tab.context.close()


def test_follows_the_colour_scheme(chromium, page):
    colors = []
    for scheme in ("light", "dark"):
        tab, _, _ = open_page(chromium, page, 1280, scheme)
        colors.append(
            tab.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        )
        tab.context.close()
    assert all(light != dark for light, dark in zip(*colors, strict=True))


def test_shows_every_type_and_what_is_missing(page):
    document = Document(page)
    alts = {image["alt"] for image in document.images()}
    assert {"photo, true value", "photo given all others", "photo given song alone"} <= alts
    assert {"song given size alone", "song of a sample", f"photo given {HOSTILE} alone"} <= alts
    assert "missing" in document.text
    assert "correct" in document.text
    assert "wrong" in document.text
    assert "% of their values are missing" in document.text
    assert any(word in document.text for word in WORDS)


def test_is_sound_html(page):
    document = Document(page)
    assert document.headings[0] == 1
    assert document.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(document.headings, document.headings[1:], strict=False))
    assert len(document.ids) == len(set(document.ids))
    links = [attrs["href"] for tag, attrs in document.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(document.ids)
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in document.images())
    assert all("scope" in attrs for tag, attrs in document.tags if tag == "th")


def test_escapes_what_people_name(page):
    document = Document(page)
    assert not any(tag == "script" for tag, _ in document.tags)
    assert HOSTILE in document.text
    assert "<script" not in page.read_text(encoding="utf-8")


def test_is_the_same_every_time(page, tmp_path):
    state = torch.get_rng_state()
    again = write(tmp_path / "report.html", every_type())
    assert again.read_bytes() == page.read_bytes()
    assert torch.equal(torch.get_rng_state(), state)
    other = write(tmp_path / "other.html", every_type(), seed=1)
    assert other.read_bytes() != page.read_bytes()


def test_caps_what_it_shows_of_many_modalities(wide_page):
    document = Document(wide_page)
    assert "8 of the 40 modalities are shown" in document.text
    assert document.text.count("true values") == 8 + 1  # the eight grids, and the sentence above them
    assert "attribute_8" not in document.text


def test_marks_the_best_epoch_after_the_warm_up(tmp_path):
    table = forty_labels()
    model = build("mac-wae", table.schema, latent_dim=2, draws=1, hidden=(2,))
    sentences = []
    for warmup in (0, 3):
        settings = {"fit": {"warmup": warmup}}
        path = report.write(tmp_path / "r.html", model, table, history=history(table.schema), settings=settings)
        sentences.append(Document(path).text)
    assert "Epoch 2 has the lowest validation loss" in sentences[0]
    assert "Epoch 3 has the lowest validation loss" in sentences[1]


@pytest.mark.parametrize("missing", [["a"], ["a", "b"]])
def test_needs_no_more_than_a_model_and_a_row(tmp_path, missing):
    schema = Schema({name: Vector(1, hidden=(2,)) for name in missing})
    table = Table({"a": torch.zeros(1, 1)}, schema=schema)
    model = build("mac-wae", schema, latent_dim=1, draws=1, hidden=(2,))
    document = Document(report.write(tmp_path / "report.html", model, table, title="A & B"))
    assert "A & B" in document.text
    assert {"scores", "training", "settings"}.isdisjoint(document.ids)
    assert "samples" in document.ids


def test_refuses_what_it_cannot_show(tmp_path):
    table = forty_labels()
    model = build("mac-wae", table.schema, latent_dim=2, draws=1, hidden=(2,))
    with pytest.raises(ValueError, match="examples must be at least 1"):
        report.write(tmp_path / "r.html", model, table, examples=0)
    with pytest.raises(ValueError, match="must have the model's modalities"):
        report.write(tmp_path / "r.html", model, every_type())
    empty = Table({name: value[:0] for name, value in table.values.items()}, schema=table.schema)
    with pytest.raises(ValueError, match="at least one row"):
        report.write(tmp_path / "r.html", model, empty)
    assert list(tmp_path.iterdir()) == []
