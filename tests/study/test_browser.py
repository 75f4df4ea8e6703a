"""The report in a real browser: nothing is fetched, search and sorting work, and axe finds no barrier."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fake_fit import fake_fit

from zinbtools import get
from zinbtools.study import Study, conclusion, summary, write_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is on the PATH, and CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        # a sandbox of its own needs rights that containers do not give
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox", *QUIET])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def called() -> Study:
    """A study whose genes have calls, more of them than there are rows to show at first."""
    adata, rng = fake_fit(), np.random.default_rng(0)
    adata.var["zi_call"] = pd.Categorical(rng.choice(["zero-inflated", "undecided"], adata.n_vars))
    adata.var["zi_pval_adj"] = rng.random(adata.n_vars)
    adata.var["zi_dropout"] = np.where(rng.random(adata.n_vars) < 0.1, np.nan, rng.random(adata.n_vars))
    return Study(adata, None, summary(adata), conclusion(adata))


@pytest.fixture(scope="module")
def address(called: Study, tmp_path_factory: pytest.TempPathFactory) -> str:
    mpl.use("Agg")
    folder = tmp_path_factory.mktemp("study")
    write_study(called, folder, title="some counts", command="zinbtools study x.h5ad")
    return (folder / "report.html").as_uri()


class Opened:
    """A page with all that it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(5000)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def names(self) -> list[str]:
        return self.page.locator("#genes-table tbody th").all_inner_texts()

    def column(self, heading: str) -> list[str]:
        heads = self.page.locator("#genes-table thead th").all_inner_texts()
        place = heads.index(heading) + 1
        return self.page.locator(f"#genes-table tbody tr :nth-child({place})").all_inner_texts()

    def sort(self, heading: str, table: str = "#genes-table") -> None:
        self.page.locator(f"{table} thead").get_by_role("button", name=heading, exact=True).click()


@pytest.fixture
def report(browser: Browser, address: str) -> Iterator[Opened]:
    page = browser.new_page()
    opened = Opened(page)
    page.goto(address)
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_genes_are_searched(report: Opened, called: Study) -> None:
    everyone = get.zi_genes_df(called.adata).index
    assert report.names() == list(everyone[:25])
    report.page.get_by_label("Name contains").fill("GENE1")
    expected = [name for name in everyone if "gene1" in name]
    assert report.names() == expected
    assert (
        report.page.locator("#genes-count").inner_text() == f"{len(expected)} of {len(expected)} genes shown"
    )
    report.page.get_by_label("Name contains").fill("no such gene")
    assert report.names() == []


def test_genes_of_a_call_are_chosen_and_more_are_shown(report: Opened, called: Study) -> None:
    calls = get.zi_genes_df(called.adata)["call"]
    report.page.get_by_label("Call").select_option("undecided")
    report.page.get_by_role("button", name="100 more").click()
    assert report.names() == list(calls.index[calls == "undecided"])
    assert not report.page.get_by_role("button", name="100 more").is_visible()
    report.page.get_by_label("Call").select_option("")
    assert len(report.names()) == 25


def test_words_are_set_as_words(report: Opened) -> None:
    report.sort("mean count")  # which draws the rows anew
    cells = report.page.locator("#genes-table tbody tr:first-child > *")
    heads = report.page.locator("#genes-table thead th")
    are_words = [sort == "word" for sort in heads.evaluate_all("all => all.map(head => head.dataset.sort)")]
    aligned = cells.evaluate_all("all => all.map(cell => getComputedStyle(cell).textAlign)")
    assert [align in ("left", "start") for align in aligned] == are_words
    assert sum(are_words) >= 2


def test_genes_are_sorted_by_number_and_by_word(report: Opened, called: Study) -> None:
    genes = get.zi_genes_df(called.adata)
    shown = sorted((f"{value:.3g}" for value in genes["mean_count"]), key=float)
    report.sort("mean count")
    assert report.column("mean count") == shown[::-1][:25]
    report.sort("mean count")
    assert report.column("mean count") == shown[:25]
    head = report.page.locator("#genes-table th[aria-sort]")
    assert [head.inner_text(), head.get_attribute("aria-sort")] == ["mean count", "ascending"]
    report.sort("gene")
    assert report.names() == sorted(genes.index, key=lambda name: int(name.removeprefix("gene")))[:25]


def test_what_is_not_known_comes_last(report: Opened, called: Study) -> None:
    unknown = called.adata.var["zi_dropout"].isna().sum()
    assert unknown > 0
    report.page.get_by_role("button", name="100 more").click()
    for _ in range(2):
        report.sort("dropout probability")
        assert report.column("dropout probability")[-unknown:] == ["–"] * unknown
        assert "–" not in report.column("dropout probability")[:-unknown]


def test_the_other_tables_are_sorted(report: Opened) -> None:
    table = "table.static >> nth=1"
    rows = report.page.locator(f"{table} >> tbody td:nth-child(2)")
    before = [float(text) for text in rows.all_inner_texts()]
    report.page.locator(table).get_by_role("button", name="KS distance of the data").click()
    after = [float(text) for text in rows.all_inner_texts()]
    assert after == sorted(before, reverse=True)
    assert after != before


def test_the_keyboard_is_enough(report: Opened, called: Study) -> None:
    page = report.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the verdict"
    page.locator("#genes-table thead").get_by_role("button", name="mean count").focus()
    page.keyboard.press("Enter")
    most = called.adata.X.mean(axis=0).max()
    assert float(report.column("mean count")[0]) == pytest.approx(most, rel=5e-3)


def test_a_phone_scrolls_tables_and_not_the_page(report: Opened) -> None:
    report.page.set_viewport_size({"width": 360, "height": 700})
    width, scrolled = report.page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('#genes .scroll').scrollWidth]"
    )
    assert width <= 360
    assert scrolled > 360
    hint = report.page.locator("#genes .hint")
    assert hint.inner_text() == "The table goes on to the right: scroll it sideways."
    assert hint.is_visible()
    report.page.set_viewport_size({"width": 3000, "height": 700})
    report.page.evaluate("document.body.style.maxWidth = 'none'; dispatchEvent(new Event('resize'))")
    assert not hint.is_visible()


def test_a_phone_shows_wide_pictures_large_enough_to_be_read(report: Opened) -> None:
    report.page.set_viewport_size({"width": 360, "height": 700})
    figure = report.page.locator("figure.wide").first
    image, box = figure.locator("img").bounding_box(), figure.locator(".scroll").bounding_box()
    assert image is not None
    assert box is not None
    assert image["width"] > 700 > 360 >= box["width"]
    hint = figure.locator(".hint")
    assert hint.inner_text() == "The picture goes on to the right: scroll it sideways."
    assert hint.is_visible()


def test_a_dark_page_has_dark_pictures(report: Opened) -> None:
    sources, papers = [], []
    for scheme in ("light", "dark"):
        report.page.emulate_media(color_scheme=scheme)
        images = report.page.locator("img").all()
        loaded = "image => image.decode().then(() => image.currentSrc)"
        sources.append([image.evaluate(loaded) for image in images])
        papers.append(report.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(sources[0]) > 5
    assert len({*sources[0], *sources[1]}) == 2 * len(sources[0])
    assert papers == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]


def test_the_key_figure_takes_the_whole_width(report: Opened) -> None:
    report.page.set_viewport_size({"width": 1280, "height": 900})
    widths = report.page.evaluate(
        "['main', '#figures img', '#figures figure:nth-child(2) img']"
        ".map((where) => document.querySelector(where).getBoundingClientRect().width)"
    )
    assert widths[1] == pytest.approx(widths[0], abs=1)
    assert widths[2] < 0.6 * widths[0]


def test_all_that_counts_is_printed(report: Opened) -> None:
    report.page.emulate_media(media="print")
    assert not report.page.get_by_label("Name contains").is_visible()
    assert report.page.locator("#verdict").is_visible()
    report.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert report.page.get_by_text("Every number, by restart").first.is_visible()
    best, every = report.page.locator("details").all()
    assert best.locator("table").is_visible()
    assert every.locator("tbody tr").count() < 60
    assert every.locator("table").is_visible()
    every.evaluate("fold => { fold.dataset.long = ''; dispatchEvent(new Event('beforeprint')); }")
    assert not every.is_visible()  # hundreds of rows are not


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_no_barrier(report: Opened, width: int, scheme: Literal["light", "dark"]) -> None:
    report.page.emulate_media(color_scheme=scheme)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    report.page.set_viewport_size({"width": width, "height": 800})
    for fold in report.page.locator("details summary").all():
        fold.click()
    found: dict[str, Any] = axe.run(report.page).response
    # Enough was looked at to say so: contrast, names, headings and tables among it.
    looked_at = {"color-contrast", "image-alt", "label", "heading-order", "select-name", "td-headers-attr"}
    looked_at |= {"scrollable-region-focusable"} if width < 400 else set()
    assert looked_at <= {rule["id"] for rule in found["passes"]}
    assert [(rule["id"], rule["impact"], len(rule["nodes"])) for rule in found["violations"]] == []


def test_axe_would_find_one(report: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    report.page.evaluate("document.querySelector('img').removeAttribute('alt')")
    assert "image-alt" in {rule["id"] for rule in axe.run(report.page).response["violations"]}


def test_without_scripts_the_page_still_tells_all(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#genes-table tbody tr").count() == 25
    assert not page.get_by_label("Name contains").is_visible()
    context.close()
