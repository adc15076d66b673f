// Layer 15: several processes: Gloo, NCCL, where a process stands.
#pragma once

#include "morphvlm/distributed/gloo.hpp"
#include "morphvlm/distributed/nccl.hpp"
#include "morphvlm/distributed/process_place.hpp"
