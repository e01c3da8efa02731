#include "framework/inference/views.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "framework/base/error.hpp"

namespace strata::inference {
namespace {

struct View {
  Pose pose;
  double scale = 1.0;
  bool exchanged = false;
};

std::vector<View> views_of(const TtaOptions& options) {
  std::vector<View> views;
  for (const double scale : options.scales) {
    for (const std::string& name : options.views) {
      views.push_back({pose_of(name), scale, false});
      if (options.exchange_dates) views.push_back({pose_of(name), scale, true});
    }
  }
  return views;
}

at::Tensor scaled(const at::Tensor& images, double scale) {
  if (scale == 1.0) return images;
  auto size = [&](std::int64_t whole) {  // rounded as mmcv does
    return std::max<std::int64_t>(
        1, std::llround(std::floor(static_cast<double>(whole) * scale + 0.5)));
  };
  const std::array<std::int64_t, 2> to{size(images.size(2)), size(images.size(3))};
  const at::Tensor wide = at::isFloatingType(images.scalar_type()) ? images : images.to(at::kFloat);
  return at::upsample_bilinear2d(wide, to, /*align_corners=*/false);
}

Batch seen(const Batch& batch, const View& view) {
  Batch own = batch;
  own.targets.clear();
  for (at::Tensor& images : own.images) images = posed(scaled(images, view.scale), view.pose);
  if (view.exchanged) std::reverse(own.images.begin(), own.images.end());
  for (SampleMeta& meta : own.meta) {
    if (view.exchanged) {
      std::reverse(meta.paths.begin(), meta.paths.end());
      std::reverse(meta.tags.begin(), meta.tags.end());
    }
    meta.height = own.height();
    meta.width = own.width();
  }
  return own;
}

// What was predicted for the first date belongs to the last one.
Outputs exchanged_back(Outputs outputs, const LabelSpecs& labels, std::int64_t dates) {
  const Outputs given = outputs;
  for (auto& [name, output] : outputs) {
    const LabelSpec* label = labels.find(output.target);
    if (label == nullptr || label->role != "semantic") continue;
    const Output* other = nullptr;
    for (const auto& [candidate_name, candidate] : given) {
      const LabelSpec* of = labels.find(candidate.target);
      if (of == nullptr || of->role != "semantic" || of->date != dates - 1 - label->date) continue;
      if (candidate.kind != output.kind || of->classes.size() != label->classes.size()) continue;
      other = &candidate;
    }
    if (other == nullptr) {
      throw UserError("evaluate.tta.exchange_dates: label \"" + label->name + "\" describes date " +
                      std::to_string(label->date) + ", and nothing with its classes date " +
                      std::to_string(dates - 1 - label->date) + "; switch it off for this model");
    }
    output.data = other->data;
    output.threshold = other->threshold;
  }
  return outputs;
}

}  // namespace

Pose pose_of(const std::string& name) {
  static const std::map<std::string, Pose> poses = {
      {"identity", {false, 0}}, {"rot90", {false, 1}},       {"rot180", {false, 2}},
      {"rot270", {false, 3}},   {"horizontal", {true, 0}},   {"transpose", {true, 1}},
      {"vertical", {true, 2}},  {"antitranspose", {true, 3}}};
  return poses.at(name);
}

at::Tensor posed(const at::Tensor& pixels, const Pose& pose) {
  const at::Tensor mirrored = pose.mirrored ? pixels.flip({-1}) : pixels;
  return pose.quarters == 0 ? mirrored : at::rot90(mirrored, pose.quarters, {-2, -1});
}

at::Tensor unposed(const at::Tensor& pixels, const Pose& pose) {
  const at::Tensor upright =
      pose.quarters == 0 ? pixels : at::rot90(pixels, -pose.quarters, {-2, -1});
  return pose.mirrored ? upright.flip({-1}) : upright;
}

Outputs with_views(const TtaOptions& options, const LabelSpecs& labels, std::int64_t limit,
                   const Batch& batch, const Predict& predict) {
  const std::vector<View> views = views_of(options);
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> by_size;
  std::vector<Batch> batches;
  for (std::size_t i = 0; i < views.size(); ++i) {
    batches.push_back(seen(batch, views[i]));
    by_size[{batches.back().height(), batches.back().width()}].push_back(i);
  }
  std::vector<Outputs> results(views.size());
  for (const auto& [size, members] : by_size) {
    std::vector<Batch> same;
    for (const std::size_t i : members) same.push_back(std::move(batches[i]));
    const Outputs together = in_parts(joined(same), limit, predict);
    for (std::size_t k = 0; k < members.size(); ++k) {
      const View& view = views[members[k]];
      Outputs own = together;
      for (auto& [name, output] : own) {
        output.data = unposed(
            output.data.narrow(0, static_cast<std::int64_t>(k) * batch.size(), batch.size()),
            view.pose);
        output = resized(std::move(output), batch.height(), batch.width());
      }
      if (view.exchanged) {
        own =
            exchanged_back(std::move(own), labels, static_cast<std::int64_t>(batch.images.size()));
      }
      results[members[k]] = std::move(own);
    }
  }
  return results.size() == 1 ? results.front() : average(results);
}

}  // namespace strata::inference
