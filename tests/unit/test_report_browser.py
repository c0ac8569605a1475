"""The report in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from gallery_examples import case, galleries, report_inputs

from pneumonia.gallery.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
HOSTILE = (
    "train/<script>document.title = 'taken over'</script><img src=x onerror=\"document.title='too'\">.png"
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser on the PATH: {', '.join(NAMES)}")

# Only the copy that is measured may run scripts.
MEASURE = """<script>
addEventListener("load", async () => {
  document.querySelector("details").open = true;
  const films = [...document.querySelectorAll("img.film")];
  await Promise.all(films.map(film => film.decode()));
  const root = document.documentElement;
  parent.postMessage({
    frame: window.name,
    title: document.title,
    films: films.filter(film => film.naturalWidth > 0).length,
    files: [...document.querySelectorAll(".case .file")].map(file => file.textContent),
    width: root.clientWidth,
    content: root.scrollWidth,
    curves: [...document.querySelectorAll("svg")].filter(svg => svg.clientHeight > 100).length,
    ink: getComputedStyle(document.querySelector("svg text")).fill,
    paper: getComputedStyle(document.body).backgroundColor,
  }, "*");
});
</script>"""
FRAMES = """<!DOCTYPE html><title>measuring</title><pre></pre>{frames}
<script>
const all = {{}};
addEventListener("message", event => {{
  all[event.data.frame] = event.data;
  document.querySelector("pre").textContent = JSON.stringify(all);
}});
</script>"""
FRAME = '<iframe name="{name}" src="{page}" style="width: {width}px; height: 900px; border: 0"></iframe>'
WIDTHS = (320, 390, 820, 1440)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, **report_inputs(galleries=galleries(case(), case(file=HOSTILE), case(file="x" * 300))))
    return path


def document(page: Path, profile: Path, *options: str) -> str:
    """The page as the browser has it after loading."""
    assert BROWSER is not None
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    started = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *quiet]
    command = [BROWSER, *started, f"--user-data-dir={profile}", *options, "--dump-dom", page.as_uri()]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True
    ).stdout


@pytest.fixture(scope="module")
def measured(report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the page looks like in windows of several widths, and in the dark."""
    folder = tmp_path_factory.mktemp("measured")
    html, policies = re.subn(r"<meta http-equiv=[^>]*>", "", report.read_text(encoding="utf-8"))
    assert policies == 1
    html = html.replace("</body>", f"{MEASURE}</body>")
    dark = html.replace("@media screen and (prefers-color-scheme: dark)", "@media screen")
    assert dark != html
    (folder / "light.html").write_text(html, encoding="utf-8")
    (folder / "dark.html").write_text(dark, encoding="utf-8")
    frames = [FRAME.format(name=width, page="light.html", width=width) for width in WIDTHS]
    frames.append(FRAME.format(name="dark", page="dark.html", width=1000))
    (folder / "frames.html").write_text(FRAMES.format(frames="".join(frames)), encoding="utf-8")
    loaded = document(folder / "frames.html", folder / "profile", "--virtual-time-budget=30000")
    result: dict[str, dict[str, Any]] = json.loads(
        unescape(re.search("<pre>(.*?)</pre>", loaded, re.DOTALL)[1])
    )
    return result


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_fits_every_width_and_shows_every_film(
    measured: dict[str, dict[str, Any]], width: int
) -> None:
    page = measured[str(width)]
    assert page["title"] == "Pneumonia on chest radiographs: report of a run"
    assert page["films"] == 3 * 3 * 2
    assert page["curves"] == 7
    assert page["files"].count(HOSTILE) == 3
    assert page["content"] <= page["width"] <= width


def test_ink_and_paper_change_places_in_the_dark(measured: dict[str, dict[str, Any]]) -> None:
    def brightness(color: str) -> int:
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    light, dark = measured["820"], measured["dark"]
    assert brightness(light["ink"]) < 200 < 600 < brightness(light["paper"])
    assert brightness(dark["paper"]) < 200 < 600 < brightness(dark["ink"])


def test_no_script_runs_even_where_one_got_in(report: Path, tmp_path: Path) -> None:
    html = report.read_text(encoding="utf-8")
    smuggled = html.replace("</body>", "<script>document.title = 'taken over'</script></body>")
    (tmp_path / "smuggled.html").write_text(smuggled, encoding="utf-8")
    loaded = document(tmp_path / "smuggled.html", tmp_path / "profile")
    assert "<script>" in loaded
    assert "<title>Pneumonia on chest radiographs: report of a run</title>" in loaded
