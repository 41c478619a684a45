"""The page that compares models: what is on it, what stands beside it, and what its figures are drawn from."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from math import ceil

import numpy as np
import pandas as pd
import pytest

from polymodal.comparison import charts, comparison_page, curves, ranking
from polymodal.report import figures
from polymodal.runtime.progress import format_duration

pytestmark = pytest.mark.slow

TASKS = ("reconstruction", "many-to-one", "one-to-one")
METRICS = {"image": ["ssim", "ssim-paper"], "sound": ["rmse"]}
MODELS = ["mac-wae", "mmvae-plus", "mopoe"]
HOSTILE = "<script>alert('&')</script>"


def a_score(task, dataset, modality, metric, model, seed, value, **columns):
    better = "lower" if metric in ("rmse", "frechet") else "higher"
    numbers = {"metric": metric, "better": better, "model": model, "seed": seed, "value": value}
    return {"task": task, "dataset": dataset, "modality": modality, **numbers, "rows": 500, "note": "", **columns}


def scores(models=MODELS, seeds=2, datasets=("polymnist", "mhd")):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            a_score(task, dataset, modality, metric, model, seed, rng.random(), given="all")
            for task in TASKS
            for dataset in datasets
            for modality, metrics in METRICS.items()
            for metric in metrics
            for model in models
            for seed in range(seeds)
        ]
    )


def further(models=MODELS):
    rng = np.random.default_rng(1)
    given = [("translation", f"{k} other{'s' * (k > 1)}", "ssim") for k in (1, 2)]
    given += [("coherence", "1 other", "coherence"), ("coherence", "2 others", "coherence")]
    given += [("coherence", "the truth", "verifier-acc"), ("generation", "nothing", "frechet")]
    return pd.DataFrame(
        [
            a_score(task, "mhd", "image", metric, model, seed, rng.random(), given=what)
            for task, what, metric in given
            for model in models
            for seed in range(2)
        ]
    )


def swept(names=("beta", "draws"), numbers=(1, 10, 100)):
    """Every score of a setting is its number times 1, and that of the second seed a tenth more."""
    return pd.DataFrame(
        [
            a_score(task, "mhd", modality, metrics[0], model, seed, number * (1 + seed / 10))
            | {"name": name, "number": float(number), "setting": f"{name}={number}"}
            for task in TASKS
            for modality, metrics in METRICS.items()
            for model in ("mac-wae", "mopoe")
            for name in names
            for number in numbers
            for seed in (0, 1)
        ]
    )


def maps():
    rng = np.random.default_rng(2)
    rows = [
        {"model": model, "given": given, "label": label, "x": rng.normal(), "y": rng.normal()}
        for model in ("mac-wae", "mac-vae")
        for given in ("all", "image alone", "sound alone")
        for label in (-1, 3, 4)
        for _ in range(5)
    ]
    return pd.DataFrame(rows, index=[0] * len(rows)).assign(dataset="mhd", method="umap")


def everything():
    runs = pd.DataFrame({"dataset": "mhd", "model": MODELS, "setting": "beta=1", "seed": 0, "seconds": 90.0})
    runs = runs.assign(
        memory=1234.5, epochs=30, best_epoch=[7, 8, 9], rows=6000, hardware="two cores", validation=[{}] * 3
    )
    chosen = pd.DataFrame(
        {"dataset": "mhd", "model": ["mac-wae", "mopoe"], "setting": "beta=10", "by": "validation loss"}
    )
    return {
        "scores": pd.concat([scores(), further()]),
        "title": "All of it",
        "runs": runs,
        "chosen": chosen,
        "sweeps": swept(),
        "maps": maps(),
        "failures": [("nexus on mhd, seed 1", "FloatingPointError: the loss is nan")],
        "notes": ["Sizes are reduced."],
    }


class Document(HTMLParser):
    """Tags of a page, its text, its tables' cells, and what is bold in them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.bold, self.other = [], "", [], []
        self.inside = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append((tag, dict(attrs).get("class", "")))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        self.text += data
        if self.inside[-1:] == [("strong", "")]:
            self.bold.append(data)
        if self.inside[-1:] == [("small", "other")]:
            self.other.append(data)

    def all(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return comparison_page.write(tmp_path_factory.mktemp("comparison"), **everything())


def test_holds_all_it_needs_and_every_link_leads_somewhere(page):
    document, text = Document(page), page.read_text(encoding="utf-8")
    assert not any(tag == "script" for tag, _ in document.tags)
    assert "://" not in text
    assert all(source.startswith("data:image/png;base64,") for source in document.all("img", "src"))
    assert all(document.all("img", "alt"))
    ids = [value for _, attrs in document.tags for name, value in attrs.items() if name == "id"]
    assert len(ids) == len(set(ids))
    links = document.all("a", "href")
    assert {link[1:] for link in links if link.startswith("#")} == set(ids)
    assert all((page.parent / link).is_file() for link in links if not link.startswith("#"))
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("scope" in attrs for tag, attrs in document.tags if tag == "th")


def test_every_table_and_figure_stands_beside_it(page):
    linked = {link for link in Document(page).all("a", "href") if link.endswith(".csv")}
    there = {path.name for path in page.parent.glob("*.csv")}
    assert there == linked
    assert {"ranks.csv", "win_loss.csv", "best.csv", "table.csv", "translation.csv", "coherence.csv"} <= there
    assert {"generation.csv", "sweeps.csv", "maps.csv", "runs.csv", "chosen.csv", "basis.csv", "failures.csv"} <= there
    figures = page.parent / "figures"
    names = {
        "ranks",
        "win_loss",
        "draws-mhd-mac-wae",
        "draws-mhd-mopoe",
        "codes-mhd",
        "translation-mhd",
        "coherence-mhd",
    }
    names |= {f"sweep-mhd-{task}" for task in TASKS}
    assert {path.name for path in figures.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("pdf", "png")}
    assert all(path.read_bytes().startswith(b"%PDF") for path in figures.glob("*.pdf"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.glob("*.png"))
    assert len(Document(page).all("img", "src")) == len(names)


def test_is_the_same_every_time(page, tmp_path):
    again = comparison_page.write(tmp_path, **everything())
    files = {path.relative_to(page.parent) for path in page.parent.rglob("*.*")}
    assert files == {path.relative_to(tmp_path) for path in again.parent.rglob("*.*")}
    for name in files:
        assert (page.parent / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_says_what_happened(page):
    text = Document(page).text
    best = pd.read_csv(page.parent / "best.csv")
    assert f"{best['outcomes'].max()} of 12" in text
    for said in (
        "Sizes are reduced.",
        "the loss is nan",
        "MMVAE+",
        "MoPoE",
        "beta=10",
        "two cores",
        format_duration(90),
        "1,234",
    ):
        assert said in text


def test_as_many_are_bold_as_are_best(tmp_path):
    frame = scores()
    page = comparison_page.write(tmp_path, frame, title="t")
    ranks, best = pd.read_csv(tmp_path / "ranks.csv"), pd.read_csv(tmp_path / "best.csv")
    leaders = (ranks["mean"] == ranks.groupby("task")["mean"].transform("max")).sum()
    assert len(Document(page).bold) == best["outcomes"].sum() + leaders


def test_the_table_has_means_and_spread_over_seeds(page):
    table = pd.read_csv(page.parent / "table.csv")
    assert table.columns.tolist() == [
        *("task", "dataset", "modality", "metric", "better", "model", "mean", "standard_deviation", "seeds")
    ]
    key = ["task", "dataset", "modality", "metric", "model"]
    expected = scores().groupby(key)["value"].agg(["mean", "std", "size"])
    made = table.set_index(key).loc[expected.index]
    np.testing.assert_allclose(made[["mean", "standard_deviation", "seeds"]], expected, rtol=1e-12)
    assert len(table) == len(expected)


def test_further_tasks_are_shown_and_not_ranked(page, tmp_path):
    comparison_page.write(tmp_path, scores(), title="t")
    for name in ("ranks.csv", "win_loss.csv", "best.csv", "table.csv", "intervals.csv"):
        assert (page.parent / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert not (tmp_path / "translation.csv").exists()
    made = pd.read_csv(page.parent / "translation.csv")
    assert set(made["given"]) == {"1 other", "2 others"}
    expected = further().query("task == 'translation'").groupby(["given", "model"])["value"].mean()
    np.testing.assert_allclose(made.set_index(["given", "model"])["mean"].loc[expected.index], expected)


def test_seven_columns_are_enough(tmp_path):
    frame = scores(seeds=1).drop(columns=["seed", "rows", "note", "given"])
    page = comparison_page.write(tmp_path, frame, title="t")
    assert [attrs["id"] for tag, attrs in Document(page).tags if tag == "section"] == [
        *("ranks", "wins", "outcomes", "method")
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("ranks.csv", "win_loss.csv", "best.csv", "table.csv", "comparison.html", "figures")
    }


def test_what_one_model_did_is_shown_without_ranks(tmp_path):
    frame = scores(["mac-wae"])
    page = comparison_page.write(tmp_path, frame, title="t", sweeps=swept(["draws"]))
    assert [attrs["id"] for tag, attrs in Document(page).tags if tag == "section"] == ["outcomes", "curves", "basis"]
    assert pd.read_csv(tmp_path / "best.csv").to_dict("list") == {"model": [], "outcomes": []}
    assert (
        pd.read_csv(tmp_path / "win_loss.csv").columns.tolist() == ranking.compute_win_loss(scores()).columns.tolist()
    )
    assert Document(page).bold == []


def test_further_tasks_alone_are_shown_without_ranks(tmp_path):
    page = comparison_page.write(tmp_path, further(), title="t")
    ids = [attrs["id"] for tag, attrs in Document(page).tags if tag == "section"]
    assert ids == ["translation", "coherence", "generation", "basis"]
    assert pd.read_csv(tmp_path / "ranks.csv").empty


def test_the_paper_s_numbers_stand_beside_those_of_the_same_data_set(tmp_path):
    paper = [
        ("many_to_one", "PolyMNIST", "image", "SSIM", "MMVAE+", 0.1234),
        ("many_to_one", "PolyMNIST", "sound", "RMSE", "MoPoE", 0.0456),
        ("many_to_one", "CUB", "image", "SSIM", "MAC-WAE", 0.7777),
        ("many_to_one", "MHD", "image", "SSIM", "MAC-WAE", np.nan),
        ("many_to_one", "MHD", "image", "SSIM", "JMVAE", 0.8888),
        ("reconstruction", "PolyMNIST", "picture", "SSIM", "MAC-WAE", 0.9999),
    ]
    beside = pd.DataFrame([a_score(*row[:5], 0, row[5]) for row in paper])
    page = comparison_page.write(tmp_path, scores(seeds=1), title="t", reference=beside)
    assert Document(page).other == ["0.123", "0.046"]
    text = page.read_text(encoding="utf-8")
    line = re.search(r"<tr[^>]*><th scope=\"row\">[^<]*</th>(?:(?!</tr>).)*0\.123", text)[0]
    assert "image, ssim-paper" in line  # the paper's SSIM is not ours


def test_names_are_escaped(tmp_path):
    frame = scores(seeds=1).replace({"polymnist": HOSTILE, "mopoe": HOSTILE, "image": HOSTILE})
    frame = pd.concat([frame, further().replace({"mhd": HOSTILE})])
    page = comparison_page.write(tmp_path, frame, title=HOSTILE, notes=[HOSTILE], failures=[(HOSTILE, HOSTILE)])
    document = Document(page)
    assert not any(tag == "script" for tag, _ in document.tags)
    assert document.text.count(HOSTILE) > 6
    outside = {path.resolve().parent for path in tmp_path.rglob("*.p*")}
    assert outside == {(tmp_path / "figures").resolve()}


# Figures


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_bars_are_the_mean_ranks():
    ranks = ranking.compute_ranks(scores())
    figure = charts.plot_ranks(ranks)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(TASKS)
    for axes, task in zip(figure.axes, TASKS, strict=True):
        names = [label.get_text() for label in axes.get_yticklabels()][::-1]
        bars = [bar.get_width() for bar in axes.patches][::-1]
        own = ranks[ranks["task"] == task]
        assert bars == own["mean"].tolist()
        assert names == [{"mac-wae": "MAC-WAE", "mmvae-plus": "MMVAE+", "mopoe": "MoPoE"}[m] for m in own["model"]]


def test_cells_have_shares_and_marks():
    pairs = {"ab": (0.857, 0.001), "ba": (0.0, 1.0), "ac": (0.666, 0.03), "ca": (1.0, 0.06)}
    pairs |= {"bc": (np.nan, np.nan), "cb": (np.nan, np.nan)}
    table = pd.DataFrame(
        [(*pair, *numbers) for pair, numbers in pairs.items()], columns=["row", "column", "share", "p"]
    )
    axes = charts.plot_win_loss(table, ["a", "b", "c"]).axes[0]
    told = {(round(text.get_position()[1]), text.get_position()[0]): [] for text in axes.texts}
    for text in axes.texts:
        told[round(text.get_position()[1]), text.get_position()[0]].append(text.get_text())
    assert told == {(0, 1): [".86", "**"], (1, 0): ["0", ""], (0, 2): [".67", "*"], (2, 0): ["1", ""]}


def test_curves_are_means_over_seeds_and_the_chosen_setting_is_ringed():
    table = swept(["beta"]).query("task == 'many-to-one'").sample(frac=1, random_state=0)
    figure = curves.plot_sweep(table, {("mac-wae", "beta=10")})
    assert len(figure.axes) == 2 * 2
    top = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert set(top) == {"MAC-WAE", "MoPoE"}
    line, ring = top["MAC-WAE"].lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 1.05], [10, 10.5], [100, 105]])
    np.testing.assert_allclose(ring.get_xydata(), [[10, 10.5]])
    assert len(top["MoPoE"].lines[1].get_xydata()) == 0
    assert top["MAC-WAE"].get_xscale() == "log"
    low, high = top["MAC-WAE"].collections[0].get_datalim(top["MAC-WAE"].transData).intervaly
    assert (low, high) == pytest.approx((1, 110))


def test_draws_are_relative_to_ten_and_more_is_better():
    table = swept(["draws"]).query("model == 'mac-wae'")
    for axes in curves.plot_mask_numbers(table).axes:
        made = lines(axes)
        np.testing.assert_allclose(made["image"], [[1, 0.1], [10, 1], [100, 10]])
        np.testing.assert_allclose(made["sound"], [[1, 10], [10, 1], [100, 0.1]])  # of an error, the inverse
    other = curves.plot_mask_numbers(swept(["draws"], (1, 2, 4)).query("model == 'mac-wae'")).axes[0]
    np.testing.assert_allclose(lines(other)["image"], [[1, 0.25], [2, 0.5], [4, 1]])
    assert "K = 4" in other.get_ylabel()


def test_given_is_in_order_of_how_many_and_the_truth_is_a_level():
    table = further().query("task == 'coherence'").sample(frac=1, random_state=0)
    (axes,) = curves.plot_given_modalities(table).axes
    made = lines(axes)
    assert set(made) == {"MAC-WAE", "MMVAE+", "MoPoE", curves.LEVEL}
    mean = table.groupby(["model", "given"])["value"].mean()
    np.testing.assert_allclose(
        made["MMVAE+"], [[1, mean["mmvae-plus", "1 other"]], [2, mean["mmvae-plus", "2 others"]]]
    )
    level = table[table["given"] == "the truth"].groupby("model")["value"].mean().mean()
    np.testing.assert_allclose(np.array(made[curves.LEVEL])[:, 1], level)


def test_codes_of_a_model_have_the_same_axes_in_all_panels():
    points = maps()
    figure = charts.plot_code_maps(points)
    assert len(figure.axes) == 2 * 3
    for model, panels in zip(("mac-wae", "mac-vae"), (figure.axes[:3], figure.axes[3:]), strict=True):
        assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
        for axes, given in zip(panels, ("all", "image alone", "sound alone"), strict=True):
            own = points[(points["model"] == model) & (points["given"] == given)]
            drawn = np.concatenate([dots.get_offsets() for dots in axes.collections])
            assert sorted(drawn.tolist()) == sorted(own[["x", "y"]].to_numpy().tolist())
            assert axes.get_title() == given
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["3", "4", "no class"]


@pytest.mark.parametrize("models", [1, 2, 7, 12])
def test_a_model_has_one_colour_wherever_it_is(models):
    from polymodal.comparison.display_names import assign_styles
    from polymodal.models import MODELS as REGISTERED

    names = [*list(REGISTERED)[::-1], *map(str, range(models))][-models:]
    made = assign_styles(names)
    assert len({*made.values()} if models <= 10 else made) == models
    assert all(made[name] == list(REGISTERED).index(name) for name in names if name in REGISTERED)
    assert assign_styles(["MAC-WAE"])["MAC-WAE"] == assign_styles(["x", "mac-wae"])["mac-wae"]


def test_no_row_has_the_colour_of_a_registered_model():
    """In bars and in lines; there are ten colours, for as many models."""
    from polymodal.models import MODELS as REGISTERED

    names = [*REGISTERED, "mac-wae-paper"]
    frame = pd.concat([scores(seeds=1).query("model == 'mac-wae'").assign(model=name) for name in names])
    axes = charts.plot_ranks(ranking.compute_ranks(frame)).axes[0]
    assert len({bar.get_facecolor() for bar in axes.patches}) == min(len(names), figures.STYLES + 1)  # the rest is grey
    given = pd.concat([frame.assign(task="translation", given=f"{n} others", value=0.1 * n) for n in (1, 2)])
    lines = [line for line in curves.plot_given_modalities(given).axes[0].lines if line.get_label() != curves.LEVEL]
    assert len({line.get_color() for line in lines}) == min(len(names), figures.STYLES + 1)


def test_many_tasks_have_panels_in_several_rows():
    frame = pd.concat([scores(seeds=1).query("task == 'many-to-one'").assign(task=f"task {k}") for k in range(5)])
    figure = charts.plot_ranks(ranking.compute_ranks(frame))
    assert len(figure.axes) == 5
    assert len({round(axes.get_subplotspec().rowspan.start) for axes in figure.axes}) == ceil(5 / 3)
