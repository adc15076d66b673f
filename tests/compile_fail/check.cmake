# Compiles SOURCE with COMPILER and the options in the file FLAGS, as TWIN `bad` or `good`.
file(STRINGS "${SOURCE}" _first LIMIT_COUNT 1)
if(NOT _first MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "${SOURCE}: the first line must be \"// expect: TEXT\"")
endif()
set(_expected "${CMAKE_MATCH_1}")
set(_define)
if(TWIN STREQUAL "bad")
  set(_define -DMORPHVLM_BAD)
endif()

set(ENV{LC_ALL} C)
execute_process(COMMAND "${COMPILER}" "@${FLAGS}" ${_define} "${SOURCE}"
                RESULT_VARIABLE _status ERROR_VARIABLE _output)

string(FIND "${_output}" "${_expected}" _position)
if(TWIN STREQUAL "good" AND NOT _status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must compile without MORPHVLM_BAD:\n${_output}")
elseif(TWIN STREQUAL "bad" AND _status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles with MORPHVLM_BAD; expected: ${_expected}")
elseif(TWIN STREQUAL "bad" AND _position EQUAL -1)
  message(FATAL_ERROR "${SOURCE} fails as it should, but without the text: ${_expected}\n${_output}")
endif()
