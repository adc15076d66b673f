# `cpack`: the headers as .deb and .tar.gz. The programs stay out: they are linked to a LibTorch that no package
# brings, by a path of the machine that built them (docs/packaging.md).
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_CURRENT_BINARY_DIR};morphvlm;headers;/")
set(CPACK_PACKAGE_FILE_NAME "morphvlm-${PROJECT_VERSION}-headers")
set(CPACK_PACKAGE_CONTACT "The MorphVLM maintainers")
set(CPACK_STRIP_FILES OFF)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_PACKAGE_DESCRIPTION "A header-only toolkit on LibTorch. Two things that it needs are not in\n\
Debian 12 in a version that fits, and come from elsewhere: LibTorch 2.11\n\
(CMake looks in MORPHVLM_TORCH_ROOT) and Boost.PFR of Boost 1.84 or later\n\
(in MORPHVLM_BOOST_ROOT).")
# Names as in ./morph, versions as in cmake/MorphDependencies.cmake.
string(JOIN ", " CPACK_DEBIAN_PACKAGE_DEPENDS
  "libeigen3-dev (>= 3.4)" libjpeg-dev libpcre2-dev libpng-dev "libpugixml-dev (>= 1.10)" libsentencepiece-dev
  libutf8proc-dev "nlohmann-json3-dev (>= 3.10)" zlib1g-dev)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "cmake (>= 3.25), libgloo-dev")
include(CPack)
