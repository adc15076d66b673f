// expect: morphvlm: compile with -DAT_PER_OPERATOR_HEADERS
#ifdef MORPHVLM_BAD
#undef AT_PER_OPERATOR_HEADERS
#endif

#include "morphvlm/core/tensor.hpp"

int main() { return morphvlm::describe({}) == "undefined" ? 0 : 1; }
