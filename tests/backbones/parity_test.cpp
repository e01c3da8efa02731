// Every backbone against its reference implementation: keys, counts, features, gradients,
// statistics, float64 and float32.
#include "tests/support/parity.hpp"

#include <gtest/gtest.h>

#include "backbones/backbone.hpp"
#include "tests/support/build.hpp"

namespace strata {
namespace {

using tests::parity::Case;

class BackboneParity : public testing::TestWithParam<std::string> {};

TEST_P(BackboneParity, EqualsItsReference) {
  tests::parity::check_component(GetParam(), [](const Case& fixture) {
    std::string toml = fixture.strata;
    // The reference holds the head's parameters and gives the stem; its drop connect was off.
    if (fixture.name.rfind("efficientnet", 0) == 0) {
      toml += "keep_head = true\ndrop_connect = 0.0\nout_indices = [-1, 0, 1, 2, 3]\n";
    }
    const auto slot = tests::bind_slot<Backbone>(toml, "model.backbone");
    const Backbone::Context context{FeatureSpec::image(3)};
    const FeatureSpec spec = slot.ask(&Backbone::Statics::output, context.input);
    const auto backbone = slot.build(context);
    const auto forward = [backbone, spec](const std::vector<at::Tensor>& inputs) {
      TensorMap named;
      const Features features = backbone->forward(inputs.at(0));
      for (std::size_t i = 0; i < features.levels.size(); ++i) {
        named.emplace_back("feat." + spec.levels[i].name, features.levels[i]);
      }
      for (const auto& [name, width] : spec.extras) {
        named.emplace_back("feat." + name, features.extras.at(name));
      }
      return named;
    };
    return std::pair<std::shared_ptr<torch::nn::Module>, tests::parity::Forward>(backbone, forward);
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, BackboneParity,
                         testing::ValuesIn(tests::parity::case_names("backbone")),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace strata
