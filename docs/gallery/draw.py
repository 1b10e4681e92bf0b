"""Draw the gallery: `python docs/gallery/draw.py [FOLDER]`, by the fleet at NPUFLEET_URL or by one of its own."""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pictures
from matplotlib.figure import Figure
from PIL import Image

from npufleet import Fleet
from npufleet.wire import contract

DOTS_PER_INCH = 80
COLORS = 48
"""Enough for lines and gray pictures, and a third of the bytes."""


def draw(folder: Path) -> None:
    """Write one picture per operation to the folder."""
    mpl.rcParams.update({"font.size": 8, "axes.titlesize": 9, "axes.titlelocation": "left"})
    folder.mkdir(parents=True, exist_ok=True)
    with Fleet.connect() if os.environ.get("NPUFLEET_URL") else Fleet.local() as fleet:
        for name in contract.OPERATIONS.keys() & pictures.PICTURES.keys():
            figure = Figure(pictures.SIZE, dpi=DOTS_PER_INCH, layout="constrained")
            pictures.PICTURES[name](fleet, figure)
            _save(figure, folder / f"{name}.png")


def _save(figure: Figure, path: Path) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(COLORS).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
