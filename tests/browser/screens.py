"""Screenshots of every page of a workspace, for docs/screens and for looking at them one by one.

    python -m tests.browser.screens WORKSPACE OUT [--dark] [--size WxH]

Work on a copy: opening a workspace migrates it.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from curation import review
from curation.store import samples
from curation.workspace import Workspace
from tests.browser.driving import CHROMIUM, PAGES, App, Visitor, chromium, settled

LIMIT = 200_000  # bytes of a picture
COLOURS = (256, 128, 64, 32, 16)  # of the palette, fewer until the picture is small enough
REST = 1_200  # milliseconds for charts and tables to be drawn


def views(workspace: Workspace) -> list[tuple[str, str, dict[str, str]]]:
    """Name each picture, with its page and its address: every page once, and views worth a picture."""
    asked = {"seeds": {"method": "magicoder"}, "documents": {"state": "dropped"}}
    asked["harvest"] = {"from": "Installed packages"}
    found = [(name or "overview", name, asked.get(name, {})) for name in PAGES if name not in ("row", "run")]
    for name, view in (
        ("pairs", "Pairs"),
        ("band", "Band"),
        ("sources", "Sources"),
        ("opinions", "Opinions"),
    ):
        found.append((f"near-duplicates-{name}", "near-duplicates", {"view": view}))
    found.append(("evolve-rounds", "evolve", {"view": "Rounds"}))
    found.append(("review-contamination", "review", {"kind": "decontaminate"}))
    first = next(iter(samples.stream(workspace.database, ("id",))), None)
    questions = review.items(workspace, limit=1)
    id = questions[0]["left"]["id"] if questions else first.id if first is not None else ""
    return [*found, ("row", "row", {"id": id} if id else {})]


def small_png(picture: bytes) -> bytes:
    """Give the picture under LIMIT bytes, with as many colours as that allows."""
    if len(picture) < LIMIT:
        return picture
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    packed = picture
    for number in COLOURS:
        out = io.BytesIO()
        image.quantize(number, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        packed = out.getvalue()
        if len(packed) < LIMIT:
            break
    return packed


def picture_of(page: Page) -> bytes:
    settled(page)
    page.wait_for_timeout(REST)
    settled(page)
    return small_png(page.screenshot())


def take(workspace: Path, out: Path, size: tuple[int, int], dark: bool) -> list[Path]:
    """Write a picture of each view into a folder, and give their files."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = views(Workspace(workspace))
    files = []
    with tempfile.TemporaryDirectory() as logs:
        app = App(workspace, Path(logs) / "streamlit.log")
        try:
            app.start()
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium(), args=list(CHROMIUM))
                visitor = Visitor(browser, app, size, "dark" if dark else "light").with_a_fresh_tab()
                for name, page, query in wanted:
                    file = out / f"{name}{'-dark' if dark else ''}.png"
                    file.write_bytes(picture_of(visitor.open(page, **query)))
                    files.append(file)
                browser.close()
        finally:
            app.stop()
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screens", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--size", default="1440x900", metavar="WxH")
    given = parser.parse_args()
    width, _, height = given.size.partition("x")
    for file in take(given.workspace.resolve(), given.out, (int(width), int(height)), given.dark):
        sys.stdout.write(f"{file}  {file.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
