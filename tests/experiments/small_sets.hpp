// Small data sets in the official forms.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

/// Puts them into one folder.
struct SmallSets {
  std::filesystem::path data = {};

  void put(const std::string& name, const Json& json) const { testing::put(data / name, json.dump()); }

  void put_picture(const std::string& folder, const std::string& name) const {
    std::filesystem::create_directories(data / folder);
    const std::string kinds[] = {"jpeg_420.jpg", "jpeg_gray.jpg", "jpeg_progressive.jpg"};
    std::filesystem::copy_file(golden_path("images") / kinds[name.size() % 3], data / folder / name,
                               std::filesystem::copy_options::skip_existing);
  }

  void make_vqav2(int rows = 7) const {
    for (const std::string split : {"train2014", "val2014"}) {
      Json questions = Json::array(), annotations = Json::array();
      for (int i = 0; i < rows; ++i) {
        const int image = i / 2;
        const std::string number = "00000000000" + std::to_string(image);
        put_picture(split, "COCO_" + split + "_" + number + ".jpg");
        questions.push_back({{"image_id", image}, {"question_id", i}, {"question", "is it red?"}});
        Json given = Json::array();
        for (int a = 0; a < 10; ++a) given.push_back({{"answer", a < i ? "no" : "yes"}});
        annotations.push_back({{"question_id", i},
                               {"image_id", image},
                               {"answer_type", i % 2 ? "other" : "yes/no"},
                               {"answers", given}});
      }
      put("v2_OpenEnded_mscoco_" + split + "_questions.json", {{"questions", questions}});
      put("v2_mscoco_" + split + "_annotations.json", {{"annotations", annotations}});
    }
  }

  void make_aokvqa() const {
    for (const std::string split : {"train", "val"}) {
      Json rows = Json::array();
      for (int i = 0; i < 5; ++i) {
        put_picture(split + "2017", "00000000000" + std::to_string(i) + ".jpg");
        rows.push_back({{"image_id", i},
                        {"question_id", split + std::to_string(i)},
                        {"question", "what is it?"},
                        {"choices", {"cat", "dog", "cow", "hen"}},
                        {"correct_choice_idx", i % 4},
                        {"direct_answers", Json(std::vector<std::string>(10, i % 2 ? "cat" : "dog"))},
                        {"difficult_direct_answer", i == 3},
                        {"rationales", {"a", "b", "c"}}});
      }
      put("aokvqa_v1p0_" + split + ".json", rows);
    }
  }

  void make_pubmedqa() const {
    Json rows = Json::object(), truth = Json::object();
    for (int i = 0; i < 6; ++i) {
      const std::string id = std::to_string(1000 + i);
      rows[id] = {
          {"QUESTION", "does it help?"},
          {"CONTEXTS", {"it was tried on many of them.", std::string(400, 'x') + " and it did not help."}},
          {"LABELS", {"METHODS", "RESULTS"}},
          {"MESHES", Json::array()},
          {"LONG_ANSWER", "it does."},
          {"final_decision", i % 2 ? "yes" : "maybe"}};
      if (i > 1) truth[id] = rows[id]["final_decision"];
    }
    put("ori_pqal.json", rows);
    put("test_ground_truth.json", truth);
  }

  // Three pictures with two captions each.
  void make_coco() const {
    Json images = Json::array(), captions = Json::array();
    for (int i = 0; i < 3; ++i) {
      const std::string name = "00000000000" + std::to_string(i) + ".jpg";
      put_picture("val2017", name);
      images.push_back({{"id", i}, {"file_name", name}});
      for (const char* text : {"a cat", "a dog"})
        captions.push_back({{"id", 2 * i}, {"image_id", i}, {"caption", text}});
    }
    std::filesystem::create_directories(data / "annotations");
    put("annotations/captions_val2017.json", {{"images", images}, {"annotations", captions}});
  }

  void make_stereoset() const {
    std::string text =
        "\xEF\xBB\xBF"
        "bias_type,target,context,stereotype,anti-stereotype,unrelated,label,Imaeg URL,\n";
    for (int i = 0; i < 4; ++i) {
      put_picture("images", std::to_string(i) + ".jpg");
      text += std::string(i < 2 ? "gender" : "race") + ",t,c,s is a,a is b,u is c," + (i % 2 ? "1" : "0") +
              ",http://x/y.jpg,\n";
    }
    testing::put(data / "VLStereoSet.csv", text);
  }
};

}  // namespace morphvlm::testing
