// Pictures of what the model predicts, made while it is trained.
#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "framework/base/files.hpp"
#include "framework/engine/hook.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"
#include "registry/component.hpp"

namespace strata::engine {

struct VisualizationOptions {
  std::int64_t interval = 1;
  std::int64_t samples = 4;
  double opacity = 0.5;

  static auto fields() {
    using config::field;
    using O = VisualizationOptions;
    return std::tuple{
        field("interval", &O::interval, "validations between two with pictures; the first has some")
            .at_least(1),
        field("samples", &O::samples, "how many samples of each validation set, its first ones")
            .at_least(1),
        field("opacity", &O::opacity, "of the classes over the image").at_least(0).at_most(1)};
  }
};

/// Writes work_dir/pictures/step_N/[SET.]NAME[.TARGET].png, and hands the pictures on to
/// TensorBoard: the images, the truth, the prediction; of two classes where they differ.
class VisualizationHook final : public Hook {
 public:
  VisualizationHook(VisualizationOptions options, const Context&) : options_(options) {}

  std::shared_ptr<void> during_validation(RunState& state) override {
    drawn_.clear();
    drawing_ = validations_ % options_.interval == 0;
    folder_ =
        std::filesystem::path(state.work_dir) / "pictures" / ("step_" + std::to_string(state.step));
    return nullptr;
  }

  void on_validation_batch(RunState& state, const std::string& set, const Batch& batch,
                           const Outputs& outputs) override {
    if (!drawing_) return;
    for (std::int64_t n = 0; n < batch.size() && drawn_[set] < options_.samples; ++n) {
      ++drawn_[set];
      for (const auto& [name, output] : outputs) {
        const auto truth = batch.targets.find(output.target);
        if (output.kind == Output::Kind::value || truth == batch.targets.end()) continue;
        const std::string several = outputs.size() == 1 ? "" : "." + output.target;
        const std::string stem = (set.empty() ? "" : set + ".") + sample_name(batch, n) + several;
        Picture picture{stem, draw(batch, n, labels(output), truth->second)};
        make_folder(folder_);
        io::write_png(folder_ / (stem + ".png"), picture.pixels);
        state.pictures.push_back(std::move(picture));
      }
    }
  }

  // Not before: one that was interrupted is done again, and must find the same count.
  void after_validation(RunState&) override { ++validations_; }

  std::string save_state() const override { return std::to_string(validations_); }
  void load_state(const std::string& text) override { validations_ = std::stoll(text); }

 private:
  static std::string sample_name(const Batch& batch, std::int64_t n) {
    const auto place = static_cast<std::size_t>(n);
    if (place < batch.meta.size() && !batch.meta[place].name.empty()) {
      // A name may hold folders of the data set.
      std::string name = batch.meta[place].name;
      std::replace(name.begin(), name.end(), '/', '_');
      return name;
    }
    return std::to_string(n);
  }

  at::Tensor draw(const Batch& batch, std::int64_t n, const at::Tensor& predicted,
                  const Target& target) const {
    const auto place = static_cast<std::size_t>(n);
    std::int64_t height = batch.height(), width = batch.width();
    if (place < batch.meta.size() && batch.meta[place].height > 0) {
      height = batch.meta[place].height;
      width = batch.meta[place].width;
    }
    const auto cut = [&](const at::Tensor& map) {
      return map.select(0, n).slice(-2, 0, height).slice(-1, 0, width).cpu();
    };
    const LabelSpec& label = target.spec;
    const bool change = label.role == "change";
    const at::Tensor prediction = cut(predicted), truth = cut(target.data);
    std::vector<at::Tensor> row;
    for (const at::Tensor& date : batch.images) {
      row.push_back(inference::displayable(cut(date).permute({1, 2, 0})));
    }
    const at::Tensor image = row[inference::date_under(label, row.size())];
    row.push_back(inference::overlay(image, truth, label, options_.opacity, change));
    row.push_back(inference::overlay(image, prediction, label, options_.opacity, change));
    if (label.num_classes() == 2) {
      row.push_back(inference::compare(prediction, truth, label.ignore_index));
    }
    return inference::side_by_side(row).contiguous();
  }

  VisualizationOptions options_;
  std::int64_t validations_ = 0;  // complete ones
  bool drawing_ = false;
  std::map<std::string, std::int64_t> drawn_;  // samples of each set
  std::filesystem::path folder_;
};

}  // namespace strata::engine

STRATA_COMPONENTS(framework_engine_hooks_visualization) {
  using namespace strata::engine;
  registry.add<strata::Hook, VisualizationHook, VisualizationOptions>(
      "VisualizationHook", "draws predictions of validation samples while a model is trained",
      {"SegVisualizationHook", "CDVisualizationHook"});
}
