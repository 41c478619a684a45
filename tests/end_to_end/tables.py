"""Tables for tests."""

import numpy as np
import pandas as pd

KINDS = {"emu": (0.0, 36_000.0), "owl": (280.0, 450.0), "wren": (50.0, 9.5)}
"""A wing in mm, and a weight in g."""


def birds(rows=240):
    """Birds whose columns follow from each other, an eighth of the cells empty."""
    generator = np.random.default_rng(0)
    kinds = generator.choice([*KINDS], rows)
    wing, grams = np.array([KINDS[kind] for kind in kinds]).T
    frame = pd.DataFrame(
        {
            "ring": [f"R{10_000 + row}" for row in range(rows)],
            "species": kinds,
            "wing_mm": (wing * (1 + 0.08 * generator.normal(size=rows))).round(1),
            "grams": (grams * (1 + 0.12 * generator.normal(size=rows))).round(1),
            "migrates": (kinds == "wren") & (generator.random(rows) < 0.7),
        }
    )
    empty = generator.random(frame.shape) < 0.12
    empty[:, 0] = False
    return frame.astype(object).mask(empty)
