"""One parcel's picture: the product on the belt, as the camera above it delivers it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from sextant_examples.parcels.products import draw_product
from sextant_examples.parcels.scene import belt, expose, get_in_the_way, place, shadow
from sextant_examples.parcels.suppliers import supplier

PIXELS = 96  # height and width of the delivered picture
DARK_HALL = 0.38  # light of the dark hall: a third of the lamps still burn


@dataclass(frozen=True)
class View:
    """What the picture depends on besides the seed: who sent what, and how well the hall is lit (1: normal)."""

    label: str
    supplier: str
    light: float = 1.0


def render_picture(view: View, seed: tuple[int, ...]) -> bytes:
    """Return a JPEG of PIXELS x PIXELS in colour; the same view and seed give the same bytes."""
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(seed)
    product = place(draw_product(view.label, supplier(view.supplier), rng), rng)
    ground = np.clip(belt(rng) * shadow(product, rng), 0, 255).astype(np.uint8)
    scene = Image.fromarray(ground)
    scene.paste(product, (0, 0), product)
    get_in_the_way(scene, rng)
    scene = scene.resize((PIXELS, PIXELS), Image.Resampling.BOX, reducing_gap=None)
    blur = float(rng.uniform(0, 0.9)) if rng.random() < 0.8 else float(rng.uniform(0.9, 1.8))
    scene = scene.filter(ImageFilter.GaussianBlur(blur))
    pixels = expose(np.asarray(scene, dtype=np.float32), rng, level=view.light)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(78, 93)))
    return file.getvalue()
