"""Draws the picture of the README from the run that `make demo` leaves.

Run: .venv/bin/python docs/picture.py runs/demo docs/polydigits.png
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

import polymodal as pm

SCALE, GAP, EXAMPLES = 4, 8, 10
LINES = {"m0 is given": None, "m1 from m0": "m1", "m2 from m0": "m2", "m3 from m0": "m3", "m4 from m0": "m4"}


def main(run: Path, target: Path) -> None:
    """A line of given pictures, and a line of each modality that the model made of them alone."""
    model = pm.load(run / "model")
    rows = pm.datasets.load("polydigits").test
    # The first handwriting of each digit, and its held-out partner in every other modality.
    chosen = [int((rows.values["label"] == digit).nonzero()[0]) for digit in range(EXAMPLES)]
    batch = rows[chosen]
    made = model.translate(batch, given=["m0"])
    cell, font = 16 * SCALE, ImageFont.load_default(size=17)
    width = 190 + EXAMPLES * (cell + GAP)
    picture = Image.new("RGB", (width, (1 + len(LINES)) * (cell + GAP) - cell // 3), "white")
    pen = ImageDraw.Draw(picture)
    for line, (name, modality) in enumerate(LINES.items()):
        values = batch.values["m0"] if modality is None else made[modality]
        top = GAP + line * (cell + GAP) + (GAP if line else 0)
        pen.text((8, top + cell // 3), name, fill="black", font=font)
        for column, value in enumerate(values):
            tile = model.schema["m0"].show(value).resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(tile, (180 + column * (cell + GAP), top))
    top = 2 * GAP + len(LINES) * (cell + GAP)
    pen.text((8, top), "label from m0", fill="black", font=font)
    for column, label in enumerate(made["label"].tolist()):
        truth = int(batch.values["label"][column])
        right = label == truth
        text = f"{label}" if right else f"{label}, not {truth}"
        pen.text((180 + column * (cell + GAP) + cell // 2, top), text, fill="black", font=font, anchor="ma")
    picture.save(target)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
