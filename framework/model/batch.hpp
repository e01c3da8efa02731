// What goes into a model and what comes out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/spec.hpp"

namespace strata {

/// What is known of one sample beside its tensors.
struct SampleMeta {
  std::vector<std::string> paths;  // one image file a date
  std::string name;                // stem, used for output files
  std::int64_t height = 0, width = 0;                    // valid area inside the batch's tensors
  std::int64_t original_height = 0, original_width = 0;  // as read from the file
  // What is seen at each date, in words, best first ("airport", "bare land"): text for models that
  // read some. One list a date; empty when nothing is known.
  std::vector<std::vector<std::string>> tags;
};

/// A target of a batch: a label map [N, H, W] int64 with spec.ignore_index where nothing is known.
struct Target {
  at::Tensor data;
  LabelSpec spec;
};

struct Batch {
  std::vector<at::Tensor> images;         // one N×C×H×W tensor a date, uint8 (0..255) or float
  std::map<std::string, Target> targets;  // by label name; empty at prediction
  std::vector<SampleMeta> meta;           // N entries
  bool preprocessed = false;              // float images that the model must not normalise again

  std::int64_t size() const { return images.empty() ? 0 : images.front().size(0); }
  std::int64_t height() const { return images.front().size(2); }
  std::int64_t width() const { return images.front().size(3); }
};

/// One named result of predict. `kind` says how windows, flips, scales and ensembles merge it:
/// windows average logits, views and ensembles turn them to probabilities (by `activation`) first;
/// probabilities and values are averaged, labels are voted.
struct Output {
  enum class Kind { logits, probability, value, label };
  enum class Activation { softmax, sigmoid };
  at::Tensor data;  // logits, probability: [N, C, H, W]; label: [N, H, W] int64
  Kind kind = Kind::logits;
  Activation activation = Activation::softmax;
  double threshold = 0.5;  // of a single sigmoid channel: class 1 where probability > threshold
  std::string target;      // the LabelSpec it predicts, "" for none
};

/// Results by name, in the order in which the model gives them ("logits", "change.logits", …).
using Outputs = std::vector<std::pair<std::string, Output>>;

/// Class probabilities [N, C, H, W] of a logits or probability output.
STRATA_API at::Tensor probabilities(const Output& output);
/// Class map [N, H, W] int64 of any dense output.
STRATA_API at::Tensor labels(const Output& output);
/// The output that predicts `target` (labels, logits or probability); nullptr when there is none.
STRATA_API const Output* find_output(const Outputs& outputs, const std::string& target);

/// Raw named tensors ("logits") in a fixed order.
using TensorMap = std::vector<std::pair<std::string, at::Tensor>>;
STRATA_API const at::Tensor& get(const TensorMap& tensors, const std::string& name);

/// Loss terms, already weighted by config, and values that are only logged.
struct STRATA_API Losses {
  TensorMap terms;   // scalars; each is trained
  TensorMap logged;  // scalars; not trained ("decode_head.acc_seg", per cent)

  void add(std::string name, at::Tensor value) { terms.emplace_back(std::move(name), std::move(value)); }
  void log(std::string name, at::Tensor value) { logged.emplace_back(std::move(name), std::move(value)); }
  at::Tensor total() const;  // sum of terms
};

}  // namespace strata
