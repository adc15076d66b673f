"""Conan 2 recipe of MorphVLM's headers (docs/packaging.md).

LibTorch and SentencePiece are not among its requirements: CMake finds LibTorch 2.11 in MORPHVLM_TORCH_ROOT, and
SentencePiece where the system or CMAKE_PREFIX_PATH has it.
"""
import pathlib

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy

required_conan_version = ">=2.0"


class MorphVLM(ConanFile):
    name = "morphvlm"
    version = "1.0.0"
    description = "Vision-language models as C++ types"
    license = "Apache-2.0"
    topics = ("vision-language", "libtorch", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    def export_sources(self):
        root = pathlib.Path(self.recipe_folder).parents[1]
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*.cmake", "cmake/*.in", "include/*"):
            copy(self, pattern, src=root, dst=self.export_sources_folder)

    def requirements(self):
        self.requires("boost/[>=1.84.0 <2]", options={"header_only": True})
        self.requires("eigen/[>=3.4.0 <4]")
        self.requires("libjpeg-turbo/[>=2.1 <4]")
        self.requires("libpng/[>=1.6 <2]")
        self.requires("nlohmann_json/[>=3.10 <4]")
        self.requires("pcre2/[>=10.40 <11]")
        self.requires("pugixml/[>=1.10 <2]")
        self.requires("utf8proc/[>=2.6 <3]")
        self.requires("zlib/[>=1.2.11 <2]")

    def validate(self):
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration(f"os: expected Linux, found {self.settings.os}")
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["MORPHVLM_INSTALL_ONLY"] = True
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=pathlib.Path(self.package_folder, "licenses"))
        CMake(self).install()

    def package_id(self):
        self.info.clear()

    def package_info(self):
        # The package that CMake installs finds what it needs itself.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["share/cmake/morphvlm"]
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
