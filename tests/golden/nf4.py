"""nf4.safetensors: bitsandbytes' 4-bit NormalFloat with double quantisation, and what it dequantises to."""
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from formula import data, write

SHAPE = (142, 150)  # blocks of 64 do not divide it, nor blocks of 256 scales the scales

weight = data("nf4.weight", SHAPE)
weight[3, 10:140] *= 20
weight[7] = 0
codes, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True, blocksize=64)
write("nf4.safetensors",
      dict(codes=codes.flatten(), absmax=state.absmax, nested_absmax=state.state2.absmax, offset=state.offset.reshape(()),
           dynamic=state.state2.code, levels=state.code, float32=dequantize_4bit(codes, state),
           weight_row=weight[3]),
      shape=SHAPE)
