// The character classes of the Moses tokenizer, as regular expressions that match one character. They are
// those of Perl's Unicode tables of an older version (which leave out ideographs and Hangul syllables), given
// here by how they differ from today's properties.
#pragma once

#include <string>

namespace morphvlm::detail {

/// Ranges with letters that the old tables do not have. What lies in them and is no letter does not matter.
inline constexpr const char* kMosesNoLetters =
    R"([\x{363}-\x{36f}\x{558}\x{560}\x{588}-\x{58c}\x{5c8}-\x{5c9}\x{5ef}\x{860}-\x{897}\x{8b3}-\x{8e3}\x{9fc})"
    R"(\x{af9}-\x{afc}\x{c04}\x{c5a}-\x{c5d}\x{c80}\x{cdc}-\x{cdd}\x{cf3}-\x{d00}\x{d04}\x{d54}-\x{d56}\x{d5f})"
    R"(\x{d81}\x{e86}\x{e89}\x{e8c}\x{e8e}-\x{e93}\x{e98}\x{ea0}\x{ea8}-\x{ea9}\x{eac}\x{f82}-\x{f83})"
    R"(\x{1063}-\x{1064}\x{1069}-\x{106d}\x{1087}-\x{108d}\x{108f}\x{109a}-\x{109b}\x{13f5}-\x{13fd}\x{170d}\x{171f})"
    R"(\x{1878}\x{1abf}-\x{1ace}\x{1b4c}\x{1c36}\x{1c80}-\x{1cbf}\x{1cfa}\x{1dd3}-\x{1de6}\x{208f}\x{209d}-\x{209f})"
    R"(\x{2c2f}\x{2c5f}\x{3005}\x{3007}-\x{3029}\x{3038}-\x{303b}\x{312e}-\x{312f}\x{31bb}-\x{31bf}\x{3400}-\x{9fff})"
    R"(\x{a69e}\x{a78f}\x{a7ae}-\x{a7af}\x{a7b2}-\x{a7f6}\x{a802}\x{a80b}\x{a8c5}\x{a8fd}-\x{a8ff}\x{a9e5})"
    R"(\x{aa7b}-\x{aa7d}\x{ab60}-\x{ab63}\x{ab66}-\x{abbf}\x{ac00}-\x{d7a3}\x{f900}-\x{fad9}\x{10000}-\x{10ffff}])";

/// The signs of Indic scripts that the tokenizer adds to letters: viramas (which silence a vowel) and nuktas
/// (dots).
inline constexpr const char* kMosesIndicSigns =
    R"(\x{93c}\x{94d}\x{9bc}\x{9cd}\x{a3c}\x{a4d}\x{abc}\x{acd}\x{afd}-\x{aff}\x{b3c}\x{b4d}\x{bcd}\x{c4d}\x{cbc})"
    R"(\x{ccd}\x{d3b}\x{d3c}\x{d4d}\x{dca}\x{eba}\x{1039}\x{1714}\x{1bab}\x{1c37}\x{a8c4}\x{a8f3}\x{a8f4}\x{a953})"
    R"(\x{aaf6}\x{10a3f}\x{11046}\x{110b9}\x{110ba}\x{11133}\x{11173}\x{111c0}\x{111ca}\x{11235}\x{11236})"
    R"(\x{112e9}\x{112ea}\x{1133c}\x{1134d}\x{11442}\x{11446}\x{114c2}\x{114c3}\x{115bf}\x{115c0}\x{1163f})"
    R"(\x{116b6}\x{116b7}\x{11839}\x{1183a}\x{119e0}\x{11a34}\x{11c3f}\x{11d42}\x{11d45}\x{11d97}\x{1e94a})";

/// Counted as letters there though no letters: an Ethiopic mark and the dotted circle.
inline constexpr const char* kMosesOddLetters = R"(\x{135f}\x{25cc})";

/// A letter, as the detokenizer has it.
inline std::string moses_plain_letter() {
  return std::string("(?:(?!") + kMosesNoLetters + ")\\p{Alphabetic}|[" + kMosesOddLetters + "])";
}
/// A letter, as the tokenizer has it.
inline std::string moses_letter() {
  return std::string("(?:(?!") + kMosesNoLetters + ")\\p{Alphabetic}|[" + kMosesOddLetters +
         kMosesIndicSigns + "])";
}
/// A letter or a decimal digit.
inline std::string moses_letter_or_digit() {
  return std::string("(?:(?!") + kMosesNoLetters + ")[\\p{Alphabetic}\\p{Nd}]|[" + kMosesOddLetters +
         kMosesIndicSigns + "])";
}
/// A number sign of any kind.
inline std::string moses_number() {
  return R"((?:(?![\x{d58}-\x{d5e}\x{d76}-\x{d78}\x{3007}-\x{303a}\x{10107}-\x{10ffff}])\p{N}))";
}
/// A lower-case letter.
inline std::string moses_lower() {
  return R"((?:(?![\x{558}-\x{560}\x{588}-\x{10ff}\x{1c8a}\x{209d}-\x{209f}\x{2c5f}\x{a7af}\x{a7b9}-\x{a7f6})"
         R"(\x{ab66}-\x{ab69}\x{10597}-\x{107bf}\x{10d70}-\x{10d85}\x{16e60}-\x{16ed3}\x{1d6a6}\x{1df00}-\x{1e06d}]))"
         R"(\p{Lowercase}|[\x{295}\x{25cc}]))";
}
/// A currency sign.
inline std::string moses_currency() {
  return R"((?:(?![\x{7fe}\x{7ff}\x{20be}-\x{20c4}\x{11fdd}-\x{1ecb0}])\p{Sc}))";
}

}  // namespace morphvlm::detail
