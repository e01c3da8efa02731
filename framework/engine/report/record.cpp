#include "framework/engine/report/record.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/engine/report/html.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"

namespace strata::engine {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSamples = 4;         // best ones, and as many worst
constexpr std::int64_t kLongestSide = 288;  // of a picture, in pixels
constexpr int kJpegQuality = 85;

std::string title_of(const std::string& what, const LabelSpec& label, bool several) {
  return several ? what + ", " + label.name : what;
}

Json json_of(double value) { return std::isnan(value) ? Json() : Json(value); }

}  // namespace

std::vector<EvaluationRecord::Picture> EvaluationRecord::pictures_of(const Visit& visit,
                                                                     std::int64_t n) const {
  const Batch& batch = visit.batch;
  const SampleMeta& meta = batch.meta.at(n);
  std::vector<Picture> pictures;
  std::vector<at::Tensor> images;
  for (std::size_t date = 0; date < batch.images.size(); ++date) {
    images.push_back(inference::displayable(batch.images[date][n]
                                                .narrow(1, 0, meta.height)
                                                .narrow(2, 0, meta.width)
                                                .to(at::kCPU)
                                                .permute({1, 2, 0})));
    pictures.push_back(
        {batch.images.size() == 1 ? "image" : "image, date " + std::to_string(date + 1), "jpeg",
         html::base64(
             io::jpeg_bytes(inference::shrink(images.back(), kLongestSide), kJpegQuality))});
  }
  const bool several = batch.targets.size() > 1;
  for (const LabelSpec& label : labels_.all()) {
    if (batch.targets.count(label.name) == 0 || find_output(visit.outputs, label.name) == nullptr) {
      continue;
    }
    const at::Tensor truth = valid_area(true_labels(batch, label.name), batch, n);
    const at::Tensor predicted = valid_area(predicted_labels(visit.outputs, label.name), batch, n);
    const auto date =
        std::min<std::size_t>(static_cast<std::size_t>(label.date), images.size() - 1);
    const at::Tensor errors =
        label.num_classes() == 2
            ? inference::compare(predicted, truth, label.ignore_index)
            : inference::mistakes(images[date], predicted, truth, label.ignore_index);
    for (const auto& [what, picture] :
         {std::pair{"truth", inference::colourise(truth, label)},
          std::pair{"prediction", inference::colourise(predicted, label)},
          std::pair{"errors", errors}}) {
      pictures.push_back({title_of(what, label, several), "png",
                          html::base64(io::encode_png(inference::shrink(picture, kLongestSide)))});
    }
  }
  return pictures;
}

void EvaluationRecord::add(const Visit& visit) {
  auto set = std::find_if(sets_.begin(), sets_.end(),
                          [&](const auto& one) { return one.first == visit.set; });
  if (set == sets_.end()) set = sets_.insert(sets_.end(), {visit.set, {}});
  Picks& picks = set->second;
  for (std::int64_t n = 0; n < visit.batch.size(); ++n) {
    const std::size_t number = picks.seen++;
    const double score = visit.rank(n);
    if (std::isnan(score)) continue;
    Sample sample{visit.batch.meta.at(n).name, score, number, {}};
    const auto keep = [&](std::vector<Sample>& kept, const auto& comes_before) {
      const auto place = std::find_if(kept.begin(), kept.end(), [&](const Sample& other) {
        return comes_before(score, other.score);
      });
      if (kept.size() == kSamples && place == kept.end()) return;
      if (sample.pictures.empty()) sample.pictures = pictures_of(visit, n);
      kept.insert(place, sample);
      if (kept.size() > kSamples) kept.pop_back();
    };
    keep(picks.best, std::greater<>());
    keep(picks.worst, std::less<>());
  }
}

std::string EvaluationRecord::text(const Evaluator& evaluator, const std::string& what) const {
  Json json;
  json["what"] = what;
  json["rank"] = evaluator.rank_name();
  json["labels"] = Json::array();
  for (const LabelSpec& label : labels_.all()) {
    json["labels"].push_back(
        {{"name", label.name}, {"classes", label.classes}, {"palette", label.palette}});
  }
  json["sets"] = Json::array();
  const auto set_of = [&](const std::string& name) -> Json& {
    for (Json& set : json["sets"]) {
      if (set["name"] == name) return set;
    }
    return json["sets"].emplace_back(Json{{"name", name}, {"metrics", Json::array()}});
  };
  for (const auto& measured : evaluator.measured()) {
    Json metric{{"name", measured.metric}, {"columns", measured.table.columns}};
    metric["rows"] = Json::array();
    for (const auto& [name, values] : measured.table.rows) {
      Json row{{"name", name}, {"values", Json::array()}};
      for (const double value : values) row["values"].push_back(json_of(value));
      metric["rows"].push_back(std::move(row));
    }
    metric["overall"] = Json::array();
    for (const auto& [name, value] : measured.table.overall) {
      metric["overall"].push_back(Json::array({name, json_of(value)}));
    }
    if (measured.confusion) {
      metric["confusion"] = {{"classes", measured.confusion->classes},
                             {"counts", measured.confusion->counts}};
    }
    set_of(measured.set)["metrics"].push_back(std::move(metric));
  }
  for (const auto& [name, picks] : sets_) {
    Json& set = set_of(name);
    set["samples"] = picks.seen;
    std::vector<std::size_t> shown;
    const auto list = [&](const char* key, const std::vector<Sample>& samples, std::size_t most) {
      set[key] = Json::array();
      for (const Sample& sample : samples) {
        // Of few samples none is shown twice.
        if (shown.size() >= most || std::count(shown.begin(), shown.end(), sample.number) > 0)
          continue;
        shown.push_back(sample.number);
        Json pictures = Json::array();
        for (const Picture& picture : sample.pictures) {
          pictures.push_back(
              {{"title", picture.title}, {"type", picture.type}, {"data", picture.data}});
        }
        set[key].push_back(
            {{"name", sample.name}, {"score", sample.score}, {"pictures", std::move(pictures)}});
      }
    };
    list("worst", picks.worst, std::min(kSamples, (picks.seen + 1) / 2));
    list("best", picks.best, 2 * kSamples);
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace strata::engine
