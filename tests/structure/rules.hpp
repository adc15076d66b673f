// The rules that the source tree keeps, as a function from a tree to what is wrong with it.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

namespace morphvlm::structure {

/// Layers in their order: a header includes its own and earlier ones.
inline constexpr std::array kLayers = {"core",  "kernels", "adapt",       "quant", "offload", "nn",
                                       "model", "vlm",     "formats",     "io",    "text",    "image",
                                       "data",  "train",   "distributed", "plan",  "eval",    "report"};
inline constexpr std::size_t kMaxLines = 399;

/// Libraries that one header alone names.
struct Owner {
  const char* include;  ///< regular expression of the included path
  const char* header;   ///< the header that may, or "" for none
};
inline constexpr std::array kOwners = {
    Owner{"boost/pfr.*", "core/reflect.hpp"},
    Owner{"nlohmann/.*", "core/json.hpp"},
    Owner{"torch/torch\\.h|torch/all\\.h|torch/nn.*|ATen/ATen\\.h", ""},
};

/// What has an instruction set or a grid in it stands in kernels/ alone.
inline constexpr const char* kKernelText =
    R"(__attribute__\(\(target|_mm(256|512)?_[a-z]|__global__|blockIdx)";

/// Place of a layer in the order; -1 if there is none of that name.
inline int layer_index(const std::string& name) {
  const auto* const found = std::find(kLayers.begin(), kLayers.end(), name);
  return found == kLayers.end() ? -1 : static_cast<int>(found - kLayers.begin());
}

/// Layer of "nn/linear.hpp" and of the umbrella "nn.hpp"; that of "morphvlm.hpp" comes after all others.
inline int layer_of(const std::string& header) {
  if (header == "morphvlm.hpp") return static_cast<int>(kLayers.size());
  return layer_index(header.substr(0, header.find_first_of("/.")));
}

/// What is wrong with one header's line.
inline std::vector<std::string> check_include(const std::string& header, const std::string& path,
                                              bool quoted) {
  std::vector<std::string> wrong;
  for (const Owner& owner : kOwners) {
    if (header != owner.header && std::regex_match(path, std::regex(owner.include))) {
      wrong.push_back(header + ": includes <" + path + ">, which " +
                      (*owner.header ? "only " + std::string(owner.header) + " may" : "is too slow to read"));
    }
  }
  const bool ours = path.starts_with("morphvlm/");
  if (quoted != ours)
    wrong.push_back(header + ": our headers, and only they, are included as \"morphvlm/...\": " + path);
  if (!ours) return wrong;
  const int included = layer_of(path.substr(std::string("morphvlm/").size()));
  if (included < 0) wrong.push_back(header + ": includes " + path + ", which is in no layer");
  if (included > layer_of(header)) wrong.push_back(header + ": includes " + path + " of a later layer");
  return wrong;
}

/// What is wrong with the header `file`, called `header` in messages.
inline std::vector<std::string> check_header(const std::filesystem::path& file, const std::string& header) {
  static const std::regex kInclude(R"(\s*#\s*include\s*([<"])([^>"]+)[>"].*)"), kKernel(kKernelText);
  std::vector<std::string> wrong;
  if (layer_of(header) < 0) wrong.push_back(header + ": is in no layer");
  bool guarded = false, names_autograd = false, includes_autograd = false, has_kernel = false;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    guarded = guarded || line == "#pragma once";
    names_autograd = names_autograd || line.find("torch::autograd::") != std::string::npos;
    includes_autograd = includes_autograd || line.starts_with("#include <torch/csrc/autograd/");
    has_kernel = has_kernel || std::regex_search(line, kKernel);
    std::smatch match;
    if (!std::regex_match(line, match, kInclude)) continue;
    for (std::string& w : check_include(header, match[2], match[1] == "\"")) wrong.push_back(std::move(w));
  }
  // The test of headers precompiles LibTorch's autograd, so it would not notice.
  if (names_autograd && !includes_autograd)
    wrong.push_back(header + ": names torch::autograd and includes none of its headers");
  if (has_kernel && !header.starts_with("kernels/"))
    wrong.push_back(header + ": has a kernel, which belongs in kernels/");
  if (!guarded) wrong.push_back(header + ": has no #pragma once");
  return wrong;
}

/// Number of lines of a text file.
inline std::size_t line_count(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::size_t lines = 0;
  for (std::string line; std::getline(in, line);) ++lines;
  return lines;
}

/// Which headers a layer's umbrella lacks: it includes all of its own, so that a layer's name is enough.
inline std::vector<std::string> check_umbrellas(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  std::vector<std::string> wrong;
  const fs::path headers = root / "include" / "morphvlm";
  for (const char* layer : kLayers) {
    if (!fs::exists(headers / layer)) continue;
    const std::string umbrella = std::string(layer) + ".hpp";
    std::ifstream in(headers / umbrella);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(headers / layer)) {
      const std::string header = entry.path().lexically_relative(headers).generic_string();
      if (entry.is_regular_file() && text.find("#include \"morphvlm/" + header + "\"\n") == std::string::npos)
        wrong.push_back(umbrella + ": lacks " + header);
    }
  }
  return wrong;
}

/// Everything that is wrong with the headers under `root`/include/morphvlm, and which sources are too long.
inline std::vector<std::string> check_tree(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  std::vector<std::string> wrong;
  const fs::path headers = root / "include" / "morphvlm";
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(headers)) {
    if (!entry.is_regular_file()) continue;
    const std::string header = entry.path().lexically_relative(headers).generic_string();
    for (std::string& w : check_header(entry.path(), header)) wrong.push_back(std::move(w));
  }
  for (const char* folder : {"include", "tests", "experiments", "repro", "benchmarks", "cmake"}) {
    if (!fs::exists(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string kind = entry.path().extension().string();
      const bool source = kind == ".hpp" || kind == ".cpp" || kind == ".cmake" || kind == ".py" ||
                          entry.path().filename() == "CMakeLists.txt";
      if (!source || !entry.is_regular_file()) continue;
      const std::size_t lines = line_count(entry.path());
      if (lines > kMaxLines)
        wrong.push_back(entry.path().string() + ": has " + std::to_string(lines) + " lines");
    }
  }
  return wrong;
}

}  // namespace morphvlm::structure
