// Layer 6: files.
#pragma once

#include "morphvlm/io/adapter_file.hpp"
#include "morphvlm/io/atomic_file.hpp"
#include "morphvlm/io/checkpoint.hpp"
#include "morphvlm/io/gguf.hpp"
#include "morphvlm/io/gguf_llama.hpp"
#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/io/mapped_file.hpp"
#include "morphvlm/io/pickle.hpp"
#include "morphvlm/io/safetensors.hpp"
#include "morphvlm/io/torch_pickle.hpp"
#include "morphvlm/io/zip.hpp"
