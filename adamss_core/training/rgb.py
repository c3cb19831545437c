"""Images of any mode as RGB, by value.

The code of a model card holds the text of `as_rgb`, so it needs nothing but Pillow and nothing around it.
"""

from PIL import Image, ImageOps


def as_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert an image upright: 16 bits of grey to their upper 8, transparent parts to the background's colour."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        clear, wide = image.info.get("transparency"), image.convert("I")
        image = wide.point([value >> 8 for value in range(65_536)], "L")
        if clear is not None:
            image.putalpha(wide.point([255 * (value != clear) for value in range(65_536)], "L"))
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
