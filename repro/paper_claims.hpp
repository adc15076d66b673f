// The paper's rows and what each claims, in the order in which they are shown, whatever the scale.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "repro/claims.hpp"

namespace morphvlm::repro {

/// Ids and claims.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kPaperClaims{{
    {"T1.baseline", "OpenFlamingo answers 45.5 % of VQAv2 without shots"},
    {"T1.aokvqa", "fine-tuning on A-OKVQA lifts VQAv2 accuracy from 38.2 to 46.1"},
    {"T1.bio",
     "BioGPT converges in 105 minutes on PubMedQA with A-OKVQA and in 65 on A-OKVQA alone, 0.62 of the time"},
    {"F2.lr",
     "the learning-rate curves are a cosine without warm-up, a cosine with 20 warm-up steps and an "
     "exponential with 20"},
    {"F2.loss",
     "warm-up with a cosine converges fastest; an exponential ends lower given enough iterations; some "
     "warm-up helps whatever the schedule"},
    {"F3.loss",
     "leaving LoRA out of the feed-forward blocks (14.8 M to 11.4 M trained parameters) leaves loss and "
     "convergence unaffected"},
    {"F3.memory", "memory use starts lower without the feed-forward adapters and reaches the same level"},
    {"F4.time", "on A-OKVQA alone BioGPT converges faster in time"},
    {"F4.step", "the combined data ends lower against steps"},
    {"C.1", "OpenLLaMA-3B on PubMedQA does not fit on a card with 11.99 GB"},
    {"C.2.swap", "better vision models are left for later; nothing was measured"},
    {"C.2.bias", "bias was found with VL-StereoSet and is left for later; no number is given"},
}};

/// A row with its claim, nothing of it checked yet. Error: the paper has no such row.
inline Row paper_row(std::string_view id) {
  for (const auto& [name, claim] : kPaperClaims)
    if (name == id) return {.id = std::string(id), .claim = std::string(claim)};
  fail("row ", id, ": not one of the paper's");
}

}  // namespace morphvlm::repro
