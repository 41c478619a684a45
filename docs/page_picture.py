"""Takes the README's picture of the page of `polymodal serve`, from the run that `make demo` leaves.

Run: .venv/bin/python docs/page_picture.py runs/demo docs/serve.png
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

THREE = [(0.3, 0.17), (0.42, 0.1), (0.58, 0.1), (0.68, 0.2), (0.66, 0.34), (0.56, 0.44), (0.44, 0.48)]
THREE += [(0.58, 0.52), (0.7, 0.62), (0.71, 0.76), (0.6, 0.88), (0.44, 0.91), (0.28, 0.83)]
"""Points of a handwritten 3, as fractions of the drawing area."""


def main(run: Path, target: Path) -> None:
    """Serves the run, draws a digit in the first image, asks for four samples, and saves what the page shows."""
    from playwright.sync_api import expect, sync_playwright  # only this needs a browser

    command = [sys.executable, "-m", "polymodal", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        found = re.search(r"http://[0-9.:]+", server.stdout.readline())
        assert found is not None
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(found[0])
        expect(page.locator("#status")).not_to_be_empty()
        card = page.get_by_role("region", name="m0", exact=True)
        card.get_by_role("button", name="Clear").click()
        box = card.locator("canvas").bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()
        page.get_by_role("radio", name="4", exact=True).check(force=True)
        page.wait_for_timeout(3000)
        page.screenshot(path=target, full_page=True)
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
