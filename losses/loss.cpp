#include "losses/loss.hpp"

namespace strata {

Loss::Loss(const LossOptions& options, std::string default_name)
    : name_(options.loss_name.empty() ? std::move(default_name) : options.loss_name),
      weight_(options.loss_weight) {
  if (name_.find('.') != std::string::npos) {
    throw OptionError("loss_name", "must have no dot, got \"" + name_ + "\"");
  }
}

}  // namespace strata
