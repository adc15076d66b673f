"""images.json, images/*: CLIP preprocessing of real photographs by Pillow + open_clip; decoding of small made-up files.
usage: images.py SKIMAGE_DATA_FOLDER"""
import hashlib
import pathlib
import shutil
import sys

import numpy as np
from formula import HERE, data, write_json
from open_clip import image_transform
from PIL import Image, features

FOLDER = HERE / "images"
PHOTOS = [("rocket.jpg", 224), ("microaneurysms.png", 224), ("chelsea.png", 64), ("retina.jpg", 64), ("logo.png", 64), ("coffee.png", 56),
          ("page.png", 56), ("text.png", 224), ("camera.png", 60), ("hubble_deep_field.jpg", 64)]


def decoded(image):
    rgb = image.convert("RGB")
    return dict(mode=image.mode, width=rgb.width, height=rgb.height, rgb_sha256=hashlib.sha256(rgb.tobytes()).hexdigest())


def resized(image, size):
    """open_clip's evaluation transform up to, and without, ToTensor and Normalize."""
    for step in image_transform(size, is_train=False).transforms[:-2]:
        image = step(image)
    assert image.mode == "RGB"
    return image


def save(image, name):
    image.save(FOLDER / name, optimize=True)
    return "images/" + name


def photo(folder, name, size):
    image = Image.open(folder / name)
    image.load()
    rgb = image.convert("RGB")  # first, as OpenFlamingo's data code does; open_clip's own transform would do it last
    assert resized(image, size).tobytes() == resized(rgb, size).tobytes()  # the order matters with transparency only
    entry = dict(source=name, target=size, **decoded(image), result=save(resized(rgb, size), f"{pathlib.Path(name).stem}_{size}.png"))
    tensor = image_transform(size, is_train=False)(rgb).flatten()
    at = list(range(0, tensor.numel(), tensor.numel() // 8 - 7))
    entry["normalised"] = [[i, float(tensor[i])] for i in at]
    return entry


def picture(mode, width=29, height=23):
    """A smooth pattern with some noise, in `mode`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(0.31 * x + 0.17 * y), np.cos(0.23 * x - 0.41 * y), np.sin(0.05 * x * y), np.cos(0.6 * x)]
    noise = data("images.noise", (height, width, 4)).numpy()
    rgba = (127.5 + 100 * np.stack(waves, -1) + 20 * noise).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(rgba, "RGBA")
    if mode == "CMYK":
        return Image.fromarray(rgba, "CMYK")
    if mode == "P":
        return image.convert("RGB").quantize(31, dither=Image.Dither.NONE)
    return image if mode == "RGBA" else image.convert(mode)


def made_up():
    files = [(f"png_{m.lower()}.png", m, {}) for m in ("1", "L", "LA", "P", "RGB", "RGBA")]
    files += [("jpeg_gray.jpg", "L", dict(quality=90)), ("jpeg_420.jpg", "RGB", dict(quality=85, subsampling=2)),
              ("jpeg_422.jpg", "RGB", dict(quality=85, subsampling=1)), ("jpeg_444.jpg", "RGB", dict(quality=95, subsampling=0)),
              ("jpeg_progressive.jpg", "RGB", dict(quality=75, progressive=True))]
    entries = []
    for name, mode, options in files:
        picture(mode).save(FOLDER / name, **options)
        image = Image.open(FOLDER / name)
        entry = dict(file="images/" + name, **decoded(image))
        if name.endswith(".jpg"):  # the pixels too: another decoder may round differently
            entry["rgb"] = save(image.convert("RGB"), name.replace(".jpg", "_decoded.png"))
        entries.append(entry)
    return entries


def main(folder):
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    write_json("images.json", dict(
        libjpeg_turbo=features.version("libjpeg_turbo"), mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
        photos=[photo(folder, name, size) for name, size in PHOTOS], decode=made_up()))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
