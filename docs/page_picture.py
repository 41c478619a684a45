"""Takes the picture of the page that `polymodal serve` shows, from the run that `make demo` leaves.

Run: .venv/bin/python docs/page_picture.py runs/demo docs/serve.png
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
from playwright.sync_api import sync_playwright

ROW = 3
"""The test row whose m0 is given."""


def main(run: Path, target: Path) -> None:
    """Saves the page at 1280 pixels in the light theme, with m0 of a test row given and all else predicted."""
    command = [sys.executable, "-u", "-m", "polymodal", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://[^ ]*:\d+", server.stdout.readline())
            assert found is not None, "the server did not start"
            picture = take_picture(found.group())
        finally:
            server.terminate()
    PIL.Image.open(io.BytesIO(picture)).convert("RGB").save(target, optimize=True)


def take_picture(address: str) -> bytes:
    """Returns the page as a PNG file."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(address)
        status = page.locator("#status")
        for row in range(ROW + 1):
            if row:
                page.get_by_role("button", name="Another test row").click()
            status.filter(has_text=f"test row {row}").wait_for()
        page.get_by_role("group", name="Samples", exact=True).get_by_role("radio", name="4").check()
        status.filter(has_text="Samples with the same number").wait_for()
        page.mouse.move(0, 0)
        return page.screenshot(full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
