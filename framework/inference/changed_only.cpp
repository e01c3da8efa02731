#include "framework/inference/changed_only.hpp"

#include <ATen/TensorOperators.h>

#include <algorithm>

#include "framework/base/error.hpp"
#include "framework/model/semantic_change.hpp"

namespace strata::inference {

ChangedOnly::ChangedOnly(const LabelSpecs& labels) {
  config::Named<LabelSpec> specs;
  bool semantic = false;
  for (LabelSpec label : labels.all()) {
    if (label.role == "semantic") {
      semantic = true;
      label.classes.insert(label.classes.begin(), "unchanged");
      label.palette.insert(label.palette.begin(), {255, 255, 255});
      label.ignore_index = std::max<std::int64_t>(label.ignore_index, label.num_classes());
    }
    specs.emplace_back(label.name, label);
  }
  const auto change = change_label(labels, "");
  if (!change || !semantic) {
    throw UserError(
        "--changed-only: needs labels of what stands there (role \"semantic\") and of where it "
        "changed (role \"change\") in data.labels");
  }
  change_ = change->name;
  labels_ = LabelSpecs(std::move(specs));
}

Outputs ChangedOnly::operator()(const Outputs& outputs) const {
  const Output* change = find_output(outputs, change_);
  if (change == nullptr) {
    throw UserError("--changed-only: the model does not predict \"" + change_ + "\"");
  }
  const at::Tensor unchanged = strata::labels(*change).eq(0);
  Outputs coded;
  for (const auto& [name, output] : outputs) {
    const LabelSpec* label = labels_.find(output.target);
    coded.emplace_back(name, output);
    if (label == nullptr || label->role != "semantic" || output.kind == Output::Kind::value) {
      continue;
    }
    Output& own = coded.back().second;
    own.data = (strata::labels(output) + 1).masked_fill_(unchanged, 0);
    own.kind = Output::Kind::label;
  }
  return coded;
}

}  // namespace strata::inference
