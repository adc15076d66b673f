// Layer 12: PNG and JPEG, resizing, preprocessing.
#pragma once

#include "morphvlm/image/clip_preprocess.hpp"
#include "morphvlm/image/image.hpp"
#include "morphvlm/image/jpeg_codec.hpp"
#include "morphvlm/image/pixels.hpp"
#include "morphvlm/image/png_codec.hpp"
#include "morphvlm/image/preprocess_folder.hpp"
#include "morphvlm/image/resize.hpp"
