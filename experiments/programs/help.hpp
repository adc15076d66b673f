// What a program says about its flags when it is asked for --help.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "experiments/programs/arguments.hpp"
#include "morphvlm/core/config.hpp"

namespace morphvlm::experiments {

/// What there is to say about a program besides its flags.
struct ProgramText {
  std::string_view name = {};
  std::string_view purpose = {};                ///< a sentence
  std::vector<std::string_view> required = {};  ///< flags without which it does nothing, as `data.data`
  std::string more = {};                        ///< behind the list of flags; lines
};

/// A flag as --help shows it.
struct FlagHelp {
  std::string flag = {};   ///< --train.lr X
  std::string help = {};   ///< what it is
  std::string notes = {};  ///< its default and range; empty: neither says anything
};

namespace detail {

template <class T>
std::string value_kind() {
  if constexpr (std::is_same_v<T, bool>) {
    return "";
  } else if constexpr (std::is_integral_v<T>) {
    return " N";
  } else if constexpr (std::is_floating_point_v<T>) {
    return " X";
  } else if constexpr (std::is_enum_v<T>) {
    std::string names;
    for (const auto& [value, name] : enum_names<T>) names += (names.empty() ? " " : "|") + std::string(name);
    return names;
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return " PATH";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return " TEXT";
  } else {
    return " JSON";
  }
}

template <class T>
std::string default_and_range(const T& value, const Range& range) {
  const Json json = to_json(value);
  const std::string given = json.is_string() ? json.template get<std::string>() : json.dump();
  std::string out;
  if (!given.empty() && given != "null" && given != "[]" && given != "{}") out = "default " + given;
  if (range.limits()) out += (out.empty() ? "" : "; ") + to_string(range);
  return out;
}

template <class T>
void add_flags(std::vector<FlagHelp>& out, const T& value, const std::string& prefix) {
  const FieldNote* note = field_notes<T>.data();
  for_each_field(value, [&](std::string_view name, const auto& field) {
    using Field = std::remove_cvref_t<decltype(field)>;
    const FieldNote said = field_notes<T>.empty() ? FieldNote{} : *note++;
    const std::string path = morphvlm::detail::field_path(prefix, name);
    if constexpr (Reflectable<Field>) {
      // Of a config whose fields nobody described there is one line.
      if (field_notes<Field>.empty()) {
        out.push_back({"--" + path + ".FIELD", std::string(said.help), ""});
      } else {
        add_flags(out, field, path);
      }
    } else {
      out.push_back(
          {"--" + path + value_kind<Field>(), std::string(said.help), default_and_range(field, said.range)});
    }
  });
}

}  // namespace detail

/// All flags of a program, in the order of their fields.
template <class Arguments>
std::vector<FlagHelp> flags_of() {
  std::vector<FlagHelp> out;
  detail::add_flags(out, Arguments{}, "");
  return out;
}

/// "usage: train --model ... --out ... [flags]; train --help lists them".
inline std::string usage_line(const ProgramText& text) {
  const std::string name(text.name);
  std::string line = "usage: " + name;
  for (const auto flag : text.required) line += " --" + std::string(flag) + " ...";
  return line + " [flags]; " + name + " --help lists them\n";
}

/// The whole answer to --help.
template <class Arguments>
std::string help_text(const ProgramText& text) {
  constexpr std::size_t kColumn = 36;
  std::string out = usage_line(text) + std::string(text.purpose) + "\n\n";
  for (const auto& f : flags_of<Arguments>()) {
    std::string line = "  " + f.flag;
    line.resize(std::max(line.size() + 2, kColumn), ' ');
    out += line + f.help + (f.notes.empty() ? "" : " (" + f.notes + ")") + '\n';
  }
  return out + text.more;
}

/// Whether the command line asks for it.
inline bool asks_for_help(int argc, char** argv) {
  for (const auto& word : joined_arguments(argc, argv))
    if (word == "--help" || word.starts_with("--help=") || word == "-h") return true;
  return false;
}

}  // namespace morphvlm::experiments
