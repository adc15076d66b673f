// Rotary positions in transformers' config.json: `rope_parameters` since version 5, `rope_scaling` before,
// and keys outside of both. What is scaled is refused by name.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <string_view>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/hf_fields.hpp"

namespace morphvlm {

/// `rope_parameters` or `rope_scaling` of a LLaMA; no other key may stand there. `type` is the old spelling.
inline constexpr FileKey kLlamaRopeKeys[] = {{"rope_type", KeyUse::refused, "\"default\""},
                                             {"type", KeyUse::refused, "\"default\""},
                                             {"partial_rotary_factor", KeyUse::refused, "1"},
                                             {"rope_theta"}};

/// The same of a GPT-NeoX.
inline constexpr FileKey kGptNeoXRopeKeys[] = {{"rope_type", KeyUse::refused, "\"default\""},
                                               {"type", KeyUse::refused, "\"default\""},
                                               {"partial_rotary_factor"},
                                               {"rope_theta"}};

namespace detail {

// The object of a config.json that says how positions are rotated, and the config around it.
class HfRope {
 public:
  // Where both objects are, transformers reads the older one alone.
  HfRope(const Json& config, std::span<const FileKey> keys, const std::string& where)
      : config_(config), where_(where) {
    for (const char* name : {"rope_scaling", "rope_parameters"}) {
      const auto it = config.find(name);
      if (it == config.end() || it->is_null()) continue;
      if (expect_object(*it, where + ": " + name).empty()) continue;
      values_ = *it;
      place_ = where + ": " + name;
      refuse_keys(values_, keys, place_);
      refuse_unknown_keys(values_, keys, place_);
      // transformers finds no rotation of the type null.
      expect(!values_.contains("rope_type") || values_.at("rope_type").is_string(), place_,
             ": rope_type: expected \"default\", found null");
      return;
    }
  }

  // What the object lacks is looked for outside of it, there under another name for some models. Unlike
  // elsewhere null is no missing key: transformers fails on it.
  void take(double& field, const char* inside, const char* outside) const {
    if (values_.contains(inside)) return update_from_json(field, values_.at(inside), place_ + ": " + inside);
    if (config_.contains(outside)) update_from_json(field, config_.at(outside), where_ + ": " + outside);
  }

  void take_theta(double& theta, const char* outside) const {
    take(theta, "rope_theta", outside);
    const bool is_inside = values_.contains("rope_theta");
    expect(std::isfinite(theta) && theta > 0, is_inside ? place_ : where_, ": ",
           is_inside ? "rope_theta" : outside, ": expected a positive number, found ", theta);
  }

 private:
  const Json& config_;
  std::string where_;
  Json values_ = Json::object();
  std::string place_ = {};
};

}  // namespace detail

}  // namespace morphvlm
