// The contractions whose apostrophes the VQA metric puts back.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace morphvlm::detail {

/// The metric's map, as the contracted forms and, where the key is not the form without its apostrophes, the
/// key before a ":". Keys with capitals are left out: words
/// arrive in lower case. The map is not systematic, and it has a mistake ("somebody'd" loses its apostrophe);
/// both count.
inline constexpr std::string_view kContractions = R"(
ain't aren't can't could've couldn't couldn'tve:couldn't've couldnt've:couldn't've didn't doesn't don't
hadn't hadnt've:hadn't've hadn'tve:hadn't've hasn't haven't he'd hed've:he'd've he'dve:he'd've he's how'd
how'll how's isn't it'd itd've:it'd've it'dve:it'd've it'll let's:let's ma'am mightn't
mightnt've:mightn't've mightn'tve:mightn't've might've mustn't must've needn't not've o'clock oughtn't
ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shan't shed've:she'd've she'dve:she'd've she's:she's
should've shouldn't shouldnt've:shouldn't've shouldn'tve:shouldn't've somebody'd:somebodyd
somebodyd've:somebody'd've somebody'dve:somebody'd've somebody'll somebody's someone'd
someoned've:someone'd've someone'dve:someone'd've someone'll someone's something'd
somethingd've:something'd've something'dve:something'd've something'll that's there'd thered've:there'd've
there'dve:there'd've there're there's they'd theyd've:they'd've they'dve:they'd've they'll they're they've
'twas wasn't wed've:we'd've we'dve:we'd've we've weren't what'll what're what's what've when's where'd
where's where've who'd whod've:who'd've who'dve:who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldnt've:wouldn't've wouldn'tve:wouldn't've y'all yall'll:y'all'll y'allll:y'all'll
yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've you'd youd've:you'd've you'dve:you'd've
you'll you're you've
)";

inline std::unordered_map<std::string, std::string> make_contractions() {
  std::unordered_map<std::string, std::string> map;
  std::string_view rest = kContractions;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find_first_of(" \n"), rest.size());
    const std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (entry.empty()) continue;
    const std::size_t colon = entry.find(':');
    const std::string form(entry.substr(colon == std::string_view::npos ? 0 : colon + 1));
    std::string key(entry.substr(0, colon));
    if (colon == std::string_view::npos) std::erase(key, '\'');
    map.emplace(std::move(key), form);
  }
  return map;
}

/// `word` with its apostrophes, if it is a known contraction without them.
inline const std::string& restore_contraction(const std::string& word) {
  static const std::unordered_map<std::string, std::string> map = make_contractions();
  const auto found = map.find(word);
  return found == map.end() ? word : found->second;
}

}  // namespace morphvlm::detail
