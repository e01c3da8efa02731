// From a config to the parts of a run.
#include "framework/engine/session.hpp"

#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "registry/builtin.hpp"
#include "tests/support/message.hpp"

namespace strata::engine {
namespace {

class Session : public testing::Test {
 protected:
  void SetUp() override { register_builtin_components(registry_); }
  /// Plans the optimizers of this config over a small model.
  std::string plan(const std::string& optimizers) {
    const Experiment experiment = bind_experiment(
        config::load_text("[data.labels.land]\nclasses = [\"field\", \"water\"]\n[model]\n"
                          "type = \"EncoderDecoder\"\n"
                          "backbone = {type = \"ResNet\", depth = 18, base_channels = 8}\n"
                          "decode_head = {type = \"FCNHead\", channels = 8}\n" +
                              optimizers,
                          "test.toml"),
        "test", registry_);
    const auto model = experiment.build_model();
    return tests::message_of([&] { plan_trainers(experiment, *model, nullptr); });
  }
  Registry registry_;
};

TEST_F(Session, EachParameterHasOneOptimizer) {
  EXPECT_EQ(plan("[optimizer.body]\ntype = \"SGD\"\nlr = 1\nparams = \"backbone\"\n"
                 "[optimizer.head]\ntype = \"SGD\"\nlr = 1\nparams = \"decode_head\"\n"),
            "no error");
  EXPECT_EQ(plan("[optimizer.body]\ntype = \"SGD\"\nlr = 1\nparams = \"backbone\"\n"
                 "[optimizer.rest]\ntype = \"SGD\"\nlr = 1\nparams = [\"decode_head\", "
                 "\"backbone.bn1\"]\n"),
            "test.toml:14:10: optimizer.rest.params: selects backbone.bn1.weight, which "
            "optimizer.body trains already; each parameter has one optimizer");
  EXPECT_EQ(
      plan("[optimizer.one]\ntype = \"SGD\"\nlr = 1\n[optimizer.two]\ntype = \"SGD\"\nlr = 1\n"),
      "test.toml:10:1: optimizer.two.params: selects backbone.conv1.weight, which "
      "optimizer.one trains already; each parameter has one optimizer");
}

}  // namespace
}  // namespace strata::engine
