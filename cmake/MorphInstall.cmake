# `cmake --install`: the headers, and a package for find_package(morphvlm). Nothing of it depends on the machine.
include(CMakePackageConfigHelpers)

set(_destination "${CMAKE_INSTALL_DATADIR}/cmake/morphvlm")
install(TARGETS morphvlm EXPORT morphvlm-targets FILE_SET HEADERS COMPONENT headers)
install(EXPORT morphvlm-targets NAMESPACE morphvlm:: DESTINATION "${_destination}" COMPONENT headers)
configure_package_config_file(cmake/morphvlm-config.cmake.in morphvlm-config.cmake
  INSTALL_DESTINATION "${_destination}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(morphvlm-config-version.cmake COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/morphvlm-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/morphvlm-config-version.cmake"
  cmake/MorphDependencies.cmake cmake/MorphTorch.cmake cmake/MorphBoost.cmake
  DESTINATION "${_destination}" COMPONENT headers)
# The name that Debian and vcpkg look for.
install(FILES LICENSE RENAME copyright DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/morphvlm" COMPONENT headers)
