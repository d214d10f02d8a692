#!/usr/bin/env python3
"""Makes tests/data/pictures: small pictures of every kind that must be readable, and beside each NAME.png or NAME.jpg the
pixels that Pillow sees in it as NAME.rgb (width and height as 16-bit little endian, then RGB). Never run in CI.

Pinned: Pillow 13.0.0, numpy 2.4.6.    usage: pictures.py OUTPUT_FOLDER
"""
import struct, sys, zlib
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
W, H = 13, 9
y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([x * 19, y * 28, (x * 7 + y * 13) % 256], -1).astype(np.uint8)
smooth = np.stack([120 + x * 4, 90 + y * 5, 200 - x * 3 - y * 2], -1).astype(np.uint8)
alpha = ((x * 20 + y * 3) % 256).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, interlace, rows, extra=b""):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)) + extra
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def keep(name, pixels):
    pixels = np.asarray(pixels, np.uint8)
    (out / f"{name}.rgb").write_bytes(struct.pack("<HH", pixels.shape[1], pixels.shape[0]) + pixels.tobytes())


def white(colour, a):
    c, a = colour.astype(int), a.astype(int)[..., None]
    return (c * a + 255 * (255 - a) + 127) // 255


def save(name, image, expected, **options):
    image.save(out / name, **options)
    keep(Path(name).stem, expected)


grey = rgb[..., 1]
three = lambda g: np.repeat(np.asarray(g)[..., None], 3, -1)
save("rgb.png", Image.fromarray(rgb), rgb)
save("grey.png", Image.fromarray(grey), three(grey))
bits = (x + y) % 3 == 0
save("one_bit.png", Image.fromarray(bits), three(bits * 255))
save("rgba.png", Image.fromarray(np.dstack([rgb, alpha]), "RGBA"), white(rgb, alpha))
save("grey_alpha.png", Image.fromarray(np.dstack([grey, alpha]), "LA"), white(three(grey), alpha))
palette = Image.fromarray(rgb).quantize(16)
save("palette.png", palette, palette.convert("RGB"))
transparent = palette.copy()
index = np.asarray(palette)
save("palette_clear.png", transparent, np.where((index == 3)[..., None], 255, np.asarray(palette.convert("RGB"))),
     transparency=3)
wide = (grey.astype(np.uint32) * 257 + 100).clip(0, 65535)
raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
(out / "grey16.png").write_bytes(png(W, H, 16, 0, 0, raw))
keep("grey16", three((wide * 255 + 32767) // 65535))
wide = (rgb.astype(np.uint32) * 257 + 100).clip(0, 65535)
raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
(out / "rgb16.png").write_bytes(png(W, H, 16, 2, 0, raw))
keep("rgb16", (wide * 255 + 32767) // 65535)
raw = b""
for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
    part = rgb[y0::dy, x0::dx]
    if part.size:
        raw += b"".join(b"\0" + row.tobytes() for row in part)
(out / "interlaced.png").write_bytes(png(W, H, 8, 2, 1, raw))
keep("interlaced", rgb)
save("thin.png", Image.fromarray(rgb[:, :1]), rgb[:, :1])
exif = Image.Exif()
exif[0x0112] = 6
save("turned.png", Image.fromarray(rgb), np.rot90(rgb, -1), exif=exif)

photo = Image.fromarray(smooth)
for name, options in [("baseline", {}), ("progressive", {"progressive": True}), ("full_chroma", {"subsampling": 0})]:
    photo.save(out / f"{name}.jpg", quality=95, **options)
    keep(name, Image.open(out / f"{name}.jpg"))
photo.convert("L").save(out / "grey_photo.jpg", quality=95)
keep("grey_photo", Image.open(out / "grey_photo.jpg").convert("RGB"))
photo.convert("CMYK").save(out / "cmyk.jpg", quality=95)
keep("cmyk", Image.open(out / "cmyk.jpg").convert("RGB"))
for turn in range(2, 9):
    exif = Image.Exif()
    exif[0x0112] = turn
    if turn == 5:
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a café 猫\nSteps: 4, Seed: 7, Size: 13x9".encode("utf-16-be")
    photo.save(out / f"exif_{turn}.jpg", quality=95, subsampling=0, exif=exif)
    keep(f"exif_{turn}", ImageOps.exif_transpose(Image.open(out / f"exif_{turn}.jpg")))
texts = PngInfo()
texts.add_text("parameters", "a cat\nSteps: 4, Sampler: Euler, Seed: 7", zip=False)
texts.add_itxt("note", "猫")
texts.add_text("packed", "squeezed " * 40, zip=True)
save("texts.png", Image.fromarray(rgb), rgb, pnginfo=texts)
