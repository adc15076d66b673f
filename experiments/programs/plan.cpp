// What a training step costs, before anything is bought (docs/plan.md).
#include <iostream>

#include "experiments/programs/plan_text.hpp"
#include "experiments/programs/program.hpp"
#include "morphvlm/core/json.hpp"

namespace {

using namespace morphvlm;

struct Arguments {
  std::string model = "open_llama_3b";
  std::string adapter = "LoRA<Attn>";
  std::string base = "plain";
  bool stream_base = false;
  std::int64_t rank = 16;
  std::int64_t every = 4;
  std::int64_t batch = 1;
  std::int64_t seq = 512;
  std::int64_t images = 1;
  std::int64_t supervised = 8;
  std::string dtype = "bf16";
  std::string device = "cuda";
  std::string memory;
  std::string reserve = "600MiB";
  double throughput = 0;
  std::int64_t recompute = 0;
  bool recompute_feed_forward = false;
  bool packed = false;
  bool cached_latents = false;
  bool plain_loss = false;
  bool json = false;
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> =
    std::to_array<FieldNote>({{"model", "a name from the list below, or a model folder"},
                              {"adapter", "LoRA<Attn>, or another of those below"},
                              {"base", "plain or nf4: how the frozen projections are kept"},
                              {"stream_base", "the frozen projections stay in the host's memory"},
                              {"rank", "of the adapters", from_to(1, kMostRank)},
                              {"every", "decoder layers to a gated block", at_least(1)},
                              {"batch", "texts of a batch", at_least(1)},
                              {"seq", "tokens of a text", at_least(1)},
                              {"images", "pictures of a text", at_least(0)},
                              {"supervised", "tokens of a text that are learned", at_least(1)},
                              {"dtype", "bf16 or fp32"},
                              {"device", "cuda or cpu"},
                              {"memory", "what there is, as 12GB: whether it fits, and what would"},
                              {"reserve", "what of it is left to the process and its libraries"},
                              {"throughput", "TFLOP/s of the device; 0: no time is said", at_least(0)},
                              {"recompute", "layers whose activations are computed again", at_least(0)},
                              {"recompute_feed_forward", "the feed-forwards are computed again"},
                              {"packed", "texts fill their rows: no padding"},
                              {"cached_latents", "pictures were seen before"},
                              {"plain_loss", "the loss as torch computes it, not fused"},
                              {"json", "as JSON"}});

namespace {

PlanSetup setup_of(const Arguments& a) {
  expect(a.dtype == "bf16" || a.dtype == "fp32", "--dtype: expected bf16 or fp32, found ", a.dtype);
  expect(a.device == "cuda" || a.device == "cpu", "--device: expected cuda or cpu, found ", a.device);
  return {.dtype = a.dtype == "bf16" ? at::kBFloat16 : at::kFloat,
          .device = a.device == "cuda" ? c10::kCUDA : c10::kCPU,
          .recompute = {.every = a.recompute > 0 ? 1 : 0,
                        .layers = a.recompute,
                        .feed_forward = a.recompute_feed_forward},
          .loss = a.plain_loss ? LossPath::plain : LossPath::fused};
}

// Whether it fits the memory, and what would.
void print_fit(const Arguments& a, const experiments::PlannedModel& asked,
               const experiments::Plannable& model, const PlanSetup& setup, const StepShape& work,
               const Plan& plan) {
  const auto total = experiments::parse_bytes(a.memory), reserve = experiments::parse_bytes(a.reserve);
  const auto ways_of = [&](const experiments::Plannable& one) {
    return ways_to_fit(one.plan, setup, work, one.layers, total - reserve);
  };
  std::cout << "\nin " << format_bytes(total) << ", of which " << format_bytes(reserve)
            << " are left to the process and its libraries: "
            << experiments::fit_text(ways_of(model), plan, total - reserve);
  if (plan.peak_bytes <= total - reserve || asked.adapter != experiments::planned_adapters().front()) return;
  const auto try_with = [&](const std::string& flags, const std::string& base, bool stream_base) {
    auto other = asked;
    other.base = base;
    other.stream_base = stream_base;
    const auto ways = ways_of(experiments::plannable(other));
    std::cout << "with " << flags << ":\n"
              << (ways.empty() ? "  not either\n" : experiments::ways_text(ways));
  };
  if (asked.base == "plain") try_with("--base nf4", "nf4", asked.stream_base);
  if (!asked.stream_base && a.device == "cuda") try_with("--stream_base=true", asked.base, true);
}

void print(const Arguments& a) {
  const experiments::PlannedModel asked{.model = a.model,
                                        .adapter = a.adapter,
                                        .base = a.base,
                                        .stream_base = a.stream_base,
                                        .every = a.every,
                                        .lora = {.rank = a.rank}};
  const auto model = experiments::plannable(asked);
  const PlanSetup setup = setup_of(a);
  const StepShape work{.batch = a.batch,
                       .seq = a.seq,
                       .images = a.images,
                       .supervised = a.supervised,
                       .packed = a.packed,
                       .cached_latents = a.cached_latents};
  const Plan plan = model.plan(setup, work);
  if (a.json) {
    std::cout << to_json(plan).dump(2) << '\n';
    return;
  }
  std::cout << model.type << ", " << a.model << ", " << a.dtype << " on " << a.device << "\n\n"
            << experiments::plan_text(plan);
  if (a.throughput > 0) {
    std::cout << experiments::plan_row("time of a step",
                                       format_duration(plan.flops() / (a.throughput * 1e12)),
                                       "at " + fixed(a.throughput, 1) + " TFLOP/s");
  }
  if (!a.memory.empty()) print_fit(a, asked, model, setup, work, plan);
}

}  // namespace

int main(int argc, char** argv) {
  std::string more = "\nmodels:  ";
  for (const auto& name : experiments::planned_models()) more += ' ' + std::string(name);
  more += "\nadapters:";
  for (const auto& name : experiments::planned_adapters()) more += "  " + std::string(name);
  return experiments::program<Arguments>(
      {.name = "plan",
       .purpose =
           "What a training step costs in memory and operations, before anything is bought (docs/plan.md).",
       .more = more + '\n'},
      argc, argv, print);
}
