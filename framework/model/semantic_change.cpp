#include "framework/model/semantic_change.hpp"

namespace strata {

std::vector<LabelSpec> semantic_labels(const LabelSpecs& labels,
                                       const std::vector<std::string>& targets) {
  std::vector<LabelSpec> found;
  for (std::int64_t date = 0; targets.empty() && date < 2; ++date) {
    for (const LabelSpec& label : labels.all()) {
      if (label.role != "semantic" || label.date != date) continue;
      found.push_back(label);
      break;
    }
  }
  for (const std::string& name : targets) {
    const LabelSpec* label = labels.find(name);
    if (label == nullptr) throw OptionError("targets", "no such label, got \"" + name + "\"");
    found.push_back(*label);
  }
  if (found.size() != 2) {
    throw OptionError("targets", "two semantic labels are needed, one of each date, there are " +
                                     std::to_string(found.size()));
  }
  if (found[0].classes != found[1].classes) {
    throw OptionError("targets", "\"" + found[0].name + "\" and \"" + found[1].name +
                                     "\" have different classes");
  }
  return found;
}

std::optional<LabelSpec> change_label(const LabelSpecs& labels, const std::string& change) {
  if (!change.empty()) {
    const LabelSpec* label = labels.find(change);
    if (label != nullptr) return *label;
    throw OptionError("change", "no such label, got \"" + change + "\"");
  }
  for (const LabelSpec& label : labels.all()) {
    if (label.role == "change") return label;
  }
  return std::nullopt;
}

}  // namespace strata
