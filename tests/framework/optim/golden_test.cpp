// Optimizers and schedules against PyTorch, timm and mmengine: tests/parity/small.py wrote the
// numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/base/files.hpp"
#include "framework/optim/clip.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/schedule.hpp"
#include "tests/support/build.hpp"

namespace strata {
namespace {

using Json = nlohmann::json;

const Json& golden() {
  static const Json json =
      Json::parse(read_text(STRATA_SOURCE_DIR "/tests/data/parity/optim.json"));
  return json;
}

TEST(Golden, Schedules) {
  std::set<std::string> types;
  for (const Json& one : golden().at("schedules")) {
    const auto toml = one.at("strata").get<std::string>();
    SCOPED_TRACE(one.at("name").get<std::string>() + "\n" + toml);
    types.insert(toml.substr(8, toml.find('"', 8) - 8));
    const double lr = one.at("base_lr").get<double>();
    const auto schedule = tests::slot_of<Schedule>(toml).build(
        {.steps = one.at("steps").get<std::int64_t>(),
         .base_lr = lr,
         .steps_in_epoch = one.at("steps_in_epoch").get<double>()});
    const Json& rates = one.at("lr");
    for (std::size_t step = 0; step < rates.size(); ++step) {
      // The references multiply from step to step: forty roundings, and ours is the closed form.
      const double rate = rates[step].get<double>();
      EXPECT_NEAR(lr * schedule->factor(static_cast<std::int64_t>(step)), rate, 1e-13 * lr) << step;
    }
  }
  for (const std::string& name : tests::builtin_registry().names(Schedule::kind)) {
    EXPECT_EQ(types.count(name), 1U) << name << " has no golden values";
  }
}

std::string toml_of(const Json& one) {
  std::string toml = "type = " + one.at("type").dump() + "\n";
  for (const auto& [key, value] : one.at("options").items()) {
    toml += key + " = " + value.dump() + "\n";
  }
  return toml;
}

TEST(Golden, Optimizers) {
  std::set<std::string> types;
  for (const Json& one : golden().at("optimizers")) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    types.insert(one.at("type").get<std::string>());
    const auto vector = [&](const Json& values) {
      return at::tensor(values.get<std::vector<double>>(), at::kDouble);
    };
    const at::Tensor a = vector(one.at("a")), b = vector(one.at("b"));
    at::Tensor x = vector(one.at("x0")).set_requires_grad(true);
    const auto slot = tests::slot_of<Optimizer>(toml_of(one));
    const OptimizerOptions& common = slot.ask(&Optimizer::Statics::common);
    const auto optimizer = slot.build({{{{"x"}, {x}, common.lr, common.weight_decay}}});
    for (std::size_t step = 0; step < one.at("loss").size(); ++step) {
      optimizer->zero_grad();
      const at::Tensor loss = (a * (x - b).square()).sum() / 2;
      const double expected = one.at("loss")[step].get<double>();
      EXPECT_NEAR(loss.item<double>(), expected, 1e-12 * std::max(1.0, expected)) << step;
      loss.backward();
      if (!one.at("clip_norm").is_null()) {
        const double norm =
            optim::clip_grad_norm({x}, one.at("clip_norm").get<double>()).item<double>();
        EXPECT_NEAR(norm, one.at("grad_norms")[step].get<double>(), 1e-11) << step;
      }
      optimizer->step(1.0);
      EXPECT_LE((x - vector(one.at("params")[step])).abs().max().item<double>(), 1e-12) << step;
    }
  }
  for (const std::string& name : tests::builtin_registry().names(Optimizer::kind)) {
    EXPECT_EQ(types.count(name), 1U) << name << " has no golden values";
  }
}

}  // namespace
}  // namespace strata
