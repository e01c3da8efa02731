// Logs how much of the training labels lies near class boundaries: what a BoundaryLoss of the same
// radius weighs. Near 0 or near 1 its weights do nothing, so this is the number to choose radius
// by.
#include <fmt/format.h>

#include <cstdio>

#include "framework/base/error.hpp"
#include "framework/base/log.hpp"
#include "framework/engine/hook.hpp"
#include "near_boundary.hpp"

namespace boundary {

using namespace strata;

struct BoundaryShareOptions {
  std::string target;
  std::int64_t radius = 3;
  std::int64_t interval = 10;
  static auto fields() {
    using config::field;
    return std::tuple{
        field("target", &BoundaryShareOptions::target,
              "label under data.labels that is looked at; left out: the only one"),
        field("radius", &BoundaryShareOptions::radius, "pixels, as in BoundaryLoss")
            .at_least(1)
            .at_most(64),
        field("interval", &BoundaryShareOptions::interval, "steps between looks").at_least(1)};
  }
};

/// Logs "<hook's name>.share", the share of valid pixels near a boundary over all batches looked at
/// so far. The counts are part of a checkpoint: a resumed run goes on with the same mean.
class BoundaryShare final : public Hook {
 public:
  BoundaryShare(const BoundaryShareOptions& options, const Context& context)
      : options_(options), name_(context.name) {}

  void after_step(RunState& state) override {
    if (state.step % options_.interval == 0) look(state.batch->targets);
    if (valid_ > 0) state.logged[name_ + ".share"] = share();
  }

  void after_run(RunState&) override {
    if (valid_ == 0) return;
    log::info("{}: {:.1f} % of the pixels looked at lie within {} pixels of a boundary", name_,
              100.0 * share(), options_.radius);
  }

  std::string save_state() const override { return fmt::format("{} {}", near_, valid_); }

  void load_state(const std::string& state) override {
    if (std::sscanf(state.c_str(), "%ld %ld", &near_, &valid_) != 2) {
      throw CheckpointError("hooks." + name_ + ": state is two numbers, got \"" + state + "\"");
    }
  }

 private:
  void look(const std::map<std::string, Target>& targets) {
    const auto found = options_.target.empty() ? targets.begin() : targets.find(options_.target);
    if (found == targets.end() || (options_.target.empty() && targets.size() > 1)) {
      std::string known;
      for (const auto& [name, target] : targets) known += (known.empty() ? "" : ", ") + name;
      throw UserError("hooks." + name_ + ".target: must be one of the labels " + known +
                      ", got \"" + options_.target + "\"");
    }
    const auto& [data, spec] = found->second;
    near_ += near_boundary(data, spec.ignore_index, options_.radius).sum().item<std::int64_t>();
    valid_ += data.ne(spec.ignore_index).sum().item<std::int64_t>();
  }

  double share() const { return static_cast<double>(near_) / static_cast<double>(valid_); }

  BoundaryShareOptions options_;
  std::string name_;
  std::int64_t near_ = 0, valid_ = 0;  // pixels, over all looks
};

}  // namespace boundary

STRATA_COMPONENTS(boundary_share) {
  registry.add<Hook, boundary::BoundaryShare, boundary::BoundaryShareOptions>(
      "BoundaryShare", "logs the share of label pixels near class boundaries");
}
