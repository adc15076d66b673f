// Layer 5: weights that are elsewhere: on the host, in other processes.
#pragma once

#include "morphvlm/offload/prefetcher.hpp"
#include "morphvlm/offload/shards.hpp"
#include "morphvlm/offload/streamed.hpp"
#include "morphvlm/offload/weight_stream.hpp"
