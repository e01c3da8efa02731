#include "losses/loss.hpp"

namespace strata {

LossTerm::LossTerm(const TermOptions& options, std::string default_name)
    : name_(options.loss_name.empty() ? std::move(default_name) : options.loss_name),
      weight_(options.loss_weight) {
  if (name_.find('.') != std::string::npos) {
    throw OptionError("loss_name", "must have no dot, got \"" + name_ + "\"");
  }
}

Loss::Loss(const LossOptions& options, std::string default_name)
    : LossTerm(options, std::move(default_name)), targets_(options.target) {}

}  // namespace strata
