"""A thumbnail service."""

import hashlib
import io

from PIL import Image, ImageDraw, ImageFilter


def handler(event, context):
    picture = Image.new("RGB", (800, 600), "white")
    ImageDraw.Draw(picture).ellipse((100, 100, 500, 400), fill="red")
    picture.save("/tmp/picture.png")
    made = {}
    for kind in ("JPEG", "WEBP", "GIF", "PNG"):
        buffer = io.BytesIO()
        Image.open("/tmp/picture.png").filter(ImageFilter.GaussianBlur(3)).resize((120, 90)).save(buffer, kind)
        made[kind] = hashlib.sha256(buffer.getvalue()).hexdigest()
    return made
