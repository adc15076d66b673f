"""images_modes.json, images_modes/*: small PNGs in every mode, and what open_clip's transform and transformers' image processors make of
them; centre crops of both; processor files as transformers saves them."""
import hashlib
import json
import pathlib
import shutil
import struct
import tempfile
import zlib

import numpy as np
import torch
from formula import HERE, write_json
from open_clip import image_transform
from PIL import Image
from tokenizers import Tokenizer, models
from transformers import BitImageProcessor, CLIPImageProcessor, CLIPProcessor, PreTrainedTokenizerFast, SiglipImageProcessor, SiglipProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

FOLDER = HERE / "images_modes"
SIDES = (11, 40)  # smaller than the pictures, and larger
BICUBIC, BILINEAR = "bicubic", "bilinear"
WIDTH, HEIGHT = 31, 23


def digest(pixels):
    """Of uint8 [height, width, 3]."""
    array = np.ascontiguousarray(pixels)
    assert array.dtype == np.uint8 and array.shape[-1] == 3, (array.dtype, array.shape)
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def open_clip_picture(image, size, resize_mode, interpolation=BICUBIC):
    """open_clip's evaluation transform up to, and without, ToTensor and Normalize."""
    for step in image_transform(size, is_train=False, resize_mode=resize_mode, interpolation=interpolation).transforms[:-2]:
        image = step(image)
    return np.array(image)


def transformers_picture(kind, image, **settings):
    """An image processor's uint8 picture before it is rescaled and normalised."""
    made = kind(do_rescale=False, do_normalize=False, **settings)(image, return_tensors="np")["pixel_values"][0]
    return np.asarray(made).astype(np.uint8).transpose(1, 2, 0)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_png(path, depth, color, rows, extra=b""):
    """For what Pillow does not write: 16 bits, few bits of gray, a transparent colour."""
    height = len(rows)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", WIDTH, height, depth, color, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def waves():
    """Smooth colours and opacities, [height, width, 4]; some of the opacities are 0 and 255."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    colors = [np.sin(0.31 * x + 0.17 * y), np.cos(0.23 * x - 0.41 * y), np.sin(0.05 * x * y)]
    alpha = 1.6 * np.cos(0.4 * x) * np.sin(0.3 * y)
    return (127.5 + 127.5 * np.stack([*colors, alpha], -1)).clip(0, 255).astype(np.uint8)


def write_files():
    rgba = waves()
    image = Image.fromarray(rgba, "RGBA")
    rgb, gray = image.convert("RGB"), image.convert("L")
    palette = rgb.quantize(13, dither=Image.Dither.NONE)
    image.save(FOLDER / "rgba.png", optimize=True)
    image.convert("LA").save(FOLDER / "la.png", optimize=True)
    gray.save(FOLDER / "l.png", optimize=True)
    gray.convert("1").save(FOLDER / "1.png", optimize=True)
    palette.save(FOLDER / "p.png", optimize=True)
    palette.save(FOLDER / "p_one.png", transparency=4, optimize=True)
    palette.save(FOLDER / "p_some.png", transparency=bytes(20 * i for i in range(13)), optimize=True)
    rgb.save(FOLDER / "rgb.png", optimize=True)
    posterised = np.array(rgb) // 64 * 80
    key = posterised[7, 9]
    Image.fromarray(posterised).save(FOLDER / "rgb_key.png", transparency=tuple(int(c) for c in key), optimize=True)
    g = np.array(gray) // 32 * 36
    Image.fromarray(g).save(FOLDER / "l_key.png", transparency=int(g[5, 5]), optimize=True)
    gray.convert("1").save(FOLDER / "1_key.png", transparency=255, optimize=True)
    few = np.array(gray) // 64
    packed = np.zeros((HEIGHT, (WIDTH + 3) // 4 * 4), np.uint8)
    packed[:, :WIDTH] = few
    packed = (packed[:, 0::4] << 6) | (packed[:, 1::4] << 4) | (packed[:, 2::4] << 2) | packed[:, 3::4]
    write_png(FOLDER / "l2_key.png", 2, 0, packed, chunk(b"tRNS", b"\0\2"))
    wide = rgba.astype(np.uint16) * 256 + 77
    write_png(FOLDER / "rgba16.png", 16, 6, wide.astype(">u2").reshape(HEIGHT, -1).view(np.uint8))
    write_png(FOLDER / "la16.png", 16, 4, wide[..., [1, 3]].astype(">u2").reshape(HEIGHT, -1).view(np.uint8))
    first = wide[3, 4, :3]
    write_png(FOLDER / "rgb16_key.png", 16, 2, wide[..., :3].astype(">u2").reshape(HEIGHT, -1).view(np.uint8),
              chunk(b"tRNS", (first >> 8).astype(">u2").tobytes()))


def file_entry(path):
    image = Image.open(path)
    image.load()
    entry = dict(file=f"images_modes/{path.name}", mode=image.mode, rgb=digest(np.array(image.convert("RGB"))))
    for side in SIDES:
        square = dict(size=dict(height=side, width=side))
        entry[str(side)] = dict(
            open_clip_shortest=digest(open_clip_picture(image, side, "shortest")),
            open_clip_squash=digest(open_clip_picture(image, side, "squash")),
            open_clip_bilinear=digest(open_clip_picture(image, side, "shortest", BILINEAR)),
            clip=digest(transformers_picture(CLIPImageProcessorPil, image, size=dict(shortest_edge=side), crop_size=side)),
            siglip=digest(transformers_picture(SiglipImageProcessorPil, image, **square)),
            siglip_bilinear=digest(transformers_picture(SiglipImageProcessorPil, image, resample=2, **square)))
    return entry


def ramp(height, width):
    return ((np.arange(height * width * 3, dtype=np.int64) * 7) % 251).astype(np.uint8).reshape(height, width, 3)


def crops():
    """Pictures `ramp`, from square to wide: short side and square both 48 (CLIP), 48 and 41 (DINOv2); nothing is resized but in `resized`."""
    out = []
    for width in range(48, 108):
        image = Image.fromarray(ramp(48, width))
        clip, bit = dict(size=dict(shortest_edge=48), crop_size=48), dict(size=dict(shortest_edge=48), crop_size=41)
        row = dict(width=width, open_clip=digest(open_clip_picture(image, 48, "shortest")),
                   clip=digest(transformers_picture(CLIPImageProcessor, image, **clip)),
                   dinov2=digest(transformers_picture(BitImageProcessor, image, **bit)))
        assert row["clip"] == digest(transformers_picture(CLIPImageProcessorPil, image, **clip))  # both backends cut alike
        assert row["dinov2"] == digest(transformers_picture(BitImageProcessorPil, image, **bit))
        row["resized"] = digest(transformers_picture(CLIPImageProcessorPil, image, size=dict(shortest_edge=20), crop_size=15))
        out.append(row)
    return out


def normalised():
    """Of transformers' default image processors, nothing resized: some values of the final [3, 48, 48] tensor."""
    image = Image.fromarray(ramp(48, 48))
    rows = []
    for scale in (1 / 255, 1 / 127.5, 0.5):
        kind = CLIPImageProcessor(size=dict(shortest_edge=48), crop_size=48, rescale_factor=scale)
        tensor = kind(image, return_tensors="pt")["pixel_values"][0].flatten()
        at = list(range(0, tensor.numel(), 997))
        rows.append(dict(rescale_factor=scale, values=[[i, float(tensor[i])] for i in at]))
    return rows


def default_backend():
    """How far the uint8 pictures of transformers' default (torchvision's resize) are from Pillow's."""
    image = Image.open(FOLDER / "rgb.png")
    out = {}
    for side in SIDES:
        settings = dict(size=dict(height=side, width=side))
        picture = transformers_picture(SiglipImageProcessor, image, **settings)
        out[str(side)] = picture.reshape(-1).tolist() if side == min(SIDES) else digest(picture)
    return out


def saved():
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), unk_token="?")
    processors = dict(
        siglip=SiglipProcessor(image_processor=SiglipImageProcessor(size=dict(height=384, width=384)), tokenizer=words),
        clip=CLIPProcessor(image_processor=CLIPImageProcessor(size=dict(shortest_edge=336), crop_size=336), tokenizer=words),
        dinov2=BitImageProcessor(size=dict(shortest_edge=256), image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]))
    out = {}
    for name, processor in processors.items():
        with tempfile.TemporaryDirectory() as folder:
            processor.save_pretrained(folder)
            files = [p for p in pathlib.Path(folder).iterdir() if "processor" in p.name]
            assert len(files) == 1, files
            out[name] = dict(file=files[0].name, json=json.loads(files[0].read_text()))
    return out


def defaults():
    """What the classes mean by keys that a file leaves out."""
    keys = ("do_center_crop", "size", "crop_size", "image_mean", "image_std", "resample", "rescale_factor", "do_convert_rgb")
    out = {}
    for kind in (CLIPImageProcessor, SiglipImageProcessor, BitImageProcessor):
        made = kind()
        out[kind.__name__] = {k: dict(v) if k.endswith("size") and v is not None else v for k in keys for v in [getattr(made, k, None)]}
    return out


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    write_files()
    torch.set_num_threads(1)
    write_json("images_modes.json", dict(
        sides=SIDES, files=[file_entry(p) for p in sorted(FOLDER.glob("*.png"))], crops=crops(), normalised=normalised(),
        default_backend=default_backend(), saved=saved(), defaults=defaults()))


if __name__ == "__main__":
    main()
