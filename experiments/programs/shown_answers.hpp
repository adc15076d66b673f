// What a model answers while it is trained, for TensorBoard.
#pragma once

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "experiments/programs/train_task.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/formats/mapped_file.hpp"
#include "morphvlm/image/image.hpp"
#include "morphvlm/io/event_file.hpp"
#include "morphvlm/report/table.hpp"
#include "morphvlm/vlm/generate.hpp"

namespace morphvlm::experiments {

/// Writes `row` into `events`: its picture, and a table with its question, its answer and what the model
/// answers. `latents` [1, 1, l, d] are its picture's, or undefined.
template <class Model>
void show_answer(const Model& model, const Tokenizer& tokenizer, const TrainRow& row, const Tensor& latents,
                 EventFile& events, std::int64_t step) {
  const auto learned = std::find_if(row.text.labels.begin(), row.text.labels.end(),
                                    [](std::int64_t label) { return label != kIgnoredLabel; });
  const auto at = row.text.ids.begin() + (learned - row.text.labels.begin());
  const TokenIds question(row.text.ids.begin(), at), answer(at, row.text.ids.end());
  const auto end = model.config.eoc_token_id;
  const GenerateConfig how{
      .max_new_tokens = 2 * std::ssize(answer), .eos_token_id = end, .pad_token_id = end};
  const TextInput asked{.ids = at::tensor(question).unsqueeze(0)};
  const Tensor ids =
      generate(model, asked.to(device_of(model.perceiver)), latents, how).ids.cpu().contiguous();
  const auto* const first = ids.const_data_ptr<std::int64_t>();
  const auto text = [&](const TokenIds& some) { return decode(tokenizer, some, true); };
  const Table table{.columns = {"question", "expected", "answered"},
                    .rows = {{text(question), text(answer), text({first, first + ids.numel()})}},
                    .align = {Align::left, Align::left, Align::left}};
  events.text("answers/" + row.id, to_markdown(table), step);
  if (row.image.empty()) return;
  const Image picture = read_image(row.image);
  const MappedFile file(row.image);
  events.image("answers/" + row.id,
               {.height = picture.height(),
                .width = picture.width(),
                .file = {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()}},
               step);
}

}  // namespace morphvlm::experiments
