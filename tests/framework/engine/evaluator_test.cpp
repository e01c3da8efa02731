#include "framework/engine/evaluator.hpp"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/data/scenes.hpp"
#include "framework/engine/per_image.hpp"
#include "framework/engine/report/record.hpp"
#include "framework/engine/session.hpp"
#include "registry/builtin.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::engine {
namespace {

using tests::TempDir;

const char* const kConfig = R"(
[model]
type = "EncoderDecoder"
backbone = {type = "ResNet", depth = 18, base_channels = 4}
decode_head = {type = "FCNHead", channels = 4, loss_decode = [{type = "CrossEntropyLoss"}, {type = "DiceLoss"}]}
auxiliary_head = {type = "FCNHead", in_index = 2, channels = 4}
[data.labels.land]
classes = ["a", "b", "c", "d", "e", "f", "g", "h", "never, \"ever\""]
[data.val.city]
batch_size = 2
dataset = {type = "SegmentationFolder", image_dir = "SCENES/val/A", label_dir = "SCENES/val/label_a"}
[data.val.sea]
dataset = {type = "SegmentationFolder", image_dir = "SCENES/test/A", label_dir = "SCENES/test/label_a"}
[evaluate]
metrics.iou = {type = "IoUMetric"}
loss = true
best = "city.miou"
[runtime]
threads = 1
)";

class Evaluation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<TempDir>();
    data::make_scene_set({.out = *dir_ / "scenes", .train = 1, .val = 3, .test = 2, .size = 64});
  }
  static void TearDownTestSuite() { dir_.reset(); }

  static Experiment experiment(Registry& registry, std::string text = kConfig) {
    for (auto at = text.find("SCENES"); at != std::string::npos; at = text.find("SCENES")) {
      text.replace(at, 6, *dir_ / "scenes");
    }
    register_builtin_components(registry);
    return bind_experiment(config::load_text(text, "test.toml"), "test", registry);
  }
  static std::unique_ptr<TempDir> dir_;
};
std::unique_ptr<TempDir> Evaluation::dir_;

double score(const Scores& scores, const std::string& name) {
  for (const auto& [key, value] : scores) {
    if (key == name) return value;
  }
  ADD_FAILURE() << "no score named " << name;
  return std::nan("");
}

TEST_F(Evaluation, NamesScoresBySetAndMeasuresTheLoss) {
  Registry registry;
  const Experiment one = experiment(registry);
  const auto model = one.build_model();
  model->eval();
  const inference::Predictor predictor({member_of(one, model)}, one.labels);
  Evaluator evaluator(one, one.data.val);
  const Scores scores = evaluator.run(predictor);
  EXPECT_EQ(scores.front().first, "city.iou.a");
  EXPECT_FALSE(std::isnan(score(scores, "sea.miou")));

  // The loss again, by hand: batches of 2 and 1 in one set, of 1 and 1 in the other.
  const at::NoGradGuard no_grad;
  for (const auto& [name, split] : one.data.val.sets) {
    const auto loader = make_loader(open_split(one, split), one, split, /*training=*/false);
    std::map<std::string, double> sums;
    double samples = 0;
    while (auto batch = loader->next()) {
      TrainContext context;
      const Losses losses = model->loss(*batch, context);
      const auto n = static_cast<double>(batch->size());
      sums["loss"] += losses.total().item<double>() * n;
      for (const auto& [term, value] : losses.terms)
        sums["loss." + term] += value.item<double>() * n;
      samples += n;
    }
    ASSERT_EQ(sums.size(), 4u);  // total, cross entropy, Dice, auxiliary
    for (const auto& [term, sum] : sums) {
      EXPECT_NEAR(score(scores, name + "." + term), sum / samples, 1e-6) << name << " " << term;
    }
  }
}

TEST_F(Evaluation, ScoresEachImageAlone) {
  Registry registry;
  const Experiment one = experiment(registry);
  const auto model = one.build_model();
  model->eval();
  const inference::Predictor predictor({member_of(one, model)}, one.labels);
  {
    // All is ground: the accuracy of an image is its share of ground.
    const at::NoGradGuard no_grad;
    for (auto& parameter : model->named_parameters()) {
      if (parameter.key() == "decode_head.conv_seg.weight") parameter.value().zero_();
      if (parameter.key() == "decode_head.conv_seg.bias") parameter.value().zero_()[0] = 1;
    }
  }
  Evaluator evaluator(one, one.data.val);
  EXPECT_EQ(evaluator.rank_name(), "miou");
  PerImageCsv csv;
  std::vector<double> accuracies;
  const Scores scores = evaluator.run(predictor, nullptr, [&](const Visit& visit) {
    csv.add(visit);
    if (visit.set != "city") return;
    for (std::int64_t n = 0; n < visit.batch.size(); ++n) {
      accuracies.push_back(score(visit.scores(n), "aacc"));
      EXPECT_EQ(visit.rank(n), score(visit.scores(n), "miou"));
    }
  });
  // Equal images: the accuracy of the set is the mean of theirs.
  ASSERT_EQ(accuracies.size(), 3u);
  EXPECT_NEAR(score(scores, "city.aacc"), (accuracies[0] + accuracies[1] + accuracies[2]) / 3,
              1e-12);
  EXPECT_NE(accuracies[0], accuracies[1]);

  std::istringstream text(csv.text());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0].substr(0, 32), "set,name,image,iou.a,iou.b,iou.c");
  EXPECT_NE(lines[0].find("\"iou.never, \"\"ever\"\"\","), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1].substr(0, 5), "city,");
  EXPECT_EQ(lines[5].substr(0, 4), "sea,");
}

TEST_F(Evaluation, IsRecordedWithItsBestAndWorstPredictions) {
  Registry registry;
  const Experiment one = experiment(registry);
  const auto model = one.build_model();
  model->eval();
  const inference::Predictor predictor({member_of(one, model)}, one.labels);
  Evaluator evaluator(one, one.data.val);
  EvaluationRecord record(one.labels);
  std::map<std::string, std::vector<double>> ranks;
  evaluator.run(predictor, nullptr, [&](const Visit& visit) {
    record.add(visit);
    for (std::int64_t n = 0; n < visit.batch.size(); ++n) {
      ranks[visit.set].push_back(visit.rank(n));
    }
  });
  const auto json = nlohmann::json::parse(record.text(evaluator, "data.val"));
  EXPECT_EQ(json["rank"], "miou");
  EXPECT_EQ(json["labels"][0]["classes"].size(), 9u);
  ASSERT_EQ(json["sets"].size(), 2u);
  for (const auto& set : json["sets"]) {
    std::vector<double>& scores = ranks[set["name"]];
    std::sort(scores.begin(), scores.end());
    // Of few samples none is shown twice: half of them are the worst, the rest the best.
    const std::size_t worst = (scores.size() + 1) / 2;
    ASSERT_EQ(set["worst"].size(), worst);
    ASSERT_EQ(set["best"].size(), scores.size() - worst);
    EXPECT_EQ(set["worst"][0]["score"], scores.front());
    EXPECT_EQ(set["best"][0]["score"], scores.back());
    std::string titles;
    for (const auto& picture : set["best"][0]["pictures"]) {
      titles += picture["title"].get<std::string>() + " ";
      // The first bytes of JPEG and PNG files, in base64.
      const std::string start = picture["type"] == "jpeg" ? "/9j/" : "iVBORw0KGgo";
      EXPECT_EQ(picture["data"].get<std::string>().substr(0, start.size()), start);
    }
    EXPECT_EQ(titles, "image truth prediction errors ");
    const auto& metric = set["metrics"][0];
    EXPECT_EQ(metric["rows"].size(), 10u);                  // classes and their mean
    EXPECT_TRUE(metric["rows"][8]["values"][3].is_null());  // recall of what never occurs
    EXPECT_EQ(metric["confusion"]["counts"].size(), 81u);
  }
}

TEST_F(Evaluation, CanMeasureNothingButTheLoss) {
  Registry registry;
  std::string text = kConfig;
  text.replace(text.find("metrics.iou = {type = \"IoUMetric\"}"), 34, "");
  text.replace(text.find("city.miou"), 9, "sea.loss");
  const Experiment one = experiment(registry, text);
  ASSERT_TRUE(measures_anything(one.evaluate));
  const auto model = one.build_model();
  model->eval();
  const inference::Predictor predictor({member_of(one, model)}, one.labels);
  const Scores scores = Evaluator(one, one.data.val).run(predictor);
  EXPECT_EQ(scores.size(), 8u);
  EXPECT_EQ(scores.front().first, "city.loss");
}

}  // namespace
}  // namespace strata::engine
