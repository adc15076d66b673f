"""efficient_net.safetensors: features of EfficientNet-Lite0, from weights by the formula and from the trained ones."""
import pathlib
import sys

import torch
from efficientnet_lite_pytorch import EfficientNet
from formula import data, parameter, write


def fill(model):
    listing = []
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("num_batches_tracked") or key.startswith("_fc."):
                continue
            if key.endswith("running_mean"):
                value.copy_(0.1 * data(key, value.shape))
            elif key.endswith("running_var"):
                value.copy_(1 + 0.3 * data(key, value.shape))
            else:
                value.copy_(parameter(key, value.shape))
            listing.append([key, list(value.shape)])
    return listing


def tokens(model, name, size):
    with torch.no_grad():
        return model.extract_features(data(name, (1, 3, size, size))).flatten(2).transpose(1, 2)


def main():
    trained = torch.load(pathlib.Path(sys.argv[1]), weights_only=True)
    out = {}
    model = EfficientNet.from_name("efficientnet-lite0")
    model.eval()
    listing = fill(model)
    out["random_224"] = tokens(model, "pixels_224", 224)[:, :, ::16]
    odd = EfficientNet.from_name("efficientnet-lite0", image_size=75).eval()
    fill(odd)
    out["random_75"] = tokens(odd, "pixels_75", 75)[:, :, ::16]
    model.load_state_dict(trained)
    out["trained_224"] = tokens(model, "pixels_224", 224)[:, :, ::16]
    write("efficient_net.safetensors", out, parameters=listing, channel_stride=16)


if __name__ == "__main__":
    main()
