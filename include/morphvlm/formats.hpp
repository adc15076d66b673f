// Layer 9: files as such: safetensors, GGUF, pickles, zip, mapped and atomic files.
#pragma once

#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/formats/gguf_quant.hpp"
#include "morphvlm/formats/gguf_value.hpp"
#include "morphvlm/formats/mapped_file.hpp"
#include "morphvlm/formats/pickle.hpp"
#include "morphvlm/formats/pickle_value.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/safetensors_header.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/formats/torch_tensor.hpp"
#include "morphvlm/formats/writable_file.hpp"
#include "morphvlm/formats/zip.hpp"
