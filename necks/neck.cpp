#include "necks/neck.hpp"

#include <torch/nn/modules/container/modulelist.h>

namespace strata {
namespace {

std::string of_date(const std::string& name, std::size_t date) {
  return name + "." + std::to_string(date);
}

}  // namespace

std::size_t NeckPlan::fusing() const {
  std::size_t i = 0;
  while (i < inputs.size()) {
    const FeatureSpec& given = i + 1 < inputs.size() ? inputs[i + 1] : output;
    if (given.dates < inputs[i].dates) break;
    ++i;
  }
  return i;
}

NeckPlan plan_necks(const std::vector<Slot<Neck>>& slots, FeatureSpec input) {
  NeckPlan plan{{}, std::move(input)};
  for (const Slot<Neck>& slot : slots) {
    plan.inputs.push_back(plan.output);
    plan.output = slot.ask(&Neck::Statics::output, plan.inputs.back());
  }
  return plan;
}

std::vector<std::shared_ptr<Neck>> add_necks(torch::nn::Module& owner,
                                             const std::vector<Slot<Neck>>& slots,
                                             const NeckPlan& plan) {
  std::vector<std::shared_ptr<Neck>> necks;
  for (std::size_t i = 0; i < slots.size(); ++i) necks.push_back(slots[i].build({plan.inputs[i]}));
  if (necks.size() == 1) {
    owner.register_module("neck", necks.front());
  } else if (!necks.empty()) {
    torch::nn::ModuleList list;
    for (const auto& neck : necks) list->push_back(neck);
    owner.register_module("neck", list);
  }
  return necks;
}

bool reads(const std::vector<Slot<Neck>>& slots, const NeckPlan& plan, const std::string& extra) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].ask(&Neck::Statics::reads, plan.inputs[i], extra)) return true;
  }
  return false;
}

std::map<std::string, std::int64_t> extras_of_dates(const FeatureSpec& input) {
  std::map<std::string, std::int64_t> extras;
  for (std::size_t d = 0; d < static_cast<std::size_t>(input.dates); ++d) {
    for (const auto& [name, width] : input.extras) extras[of_date(name, d)] = width;
  }
  return extras;
}

std::map<std::string, at::Tensor> extras_of_dates(const DateFeatures& features) {
  std::map<std::string, at::Tensor> extras;
  for (std::size_t d = 0; d < features.size(); ++d) {
    for (const auto& [name, extra] : features[d].extras) extras[of_date(name, d)] = extra;
  }
  return extras;
}

}  // namespace strata
