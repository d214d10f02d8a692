#!/usr/bin/env python3
"""Makes tests/data/resize.bin: one plane of 17 x 11 floats scaled by Pillow (mode F) with four filters to several sizes
and out of a box. Never run in CI. Pinned: Pillow 13.0.0, numpy 2.4.6.    usage: resize.py OUTPUT_FILE

Little endian: u32 width, height, float plane; then per case u32 filter (area, bilinear, bicubic, lanczos), u32 width,
height, 4 doubles of the box, float plane; to the end of the file.
"""
import struct, sys
import numpy as np
from PIL import Image

plane = np.random.default_rng(5).normal(0.4, 0.5, (11, 17)).astype(np.float32)
out = struct.pack("<II", 17, 11) + plane.tobytes()
image = Image.fromarray(plane)
for number, kind in enumerate([Image.BOX, Image.BILINEAR, Image.BICUBIC, Image.LANCZOS]):
    for size, box in [((7, 5), (0, 0, 17, 11)), ((33, 20), (0, 0, 17, 11)), ((1, 1), (0, 0, 17, 11)), ((17, 3), (0, 0, 17, 11)),
                      ((6, 6), (3.25, 0.5, 13.75, 10.5))]:
        scaled = np.asarray(image.resize(size, kind, box=box), np.float32)
        out += struct.pack("<III4d", number, *size, *box) + scaled.tobytes()
open(sys.argv[1], "wb").write(out)
