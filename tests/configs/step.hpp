// A training step and a prediction of any model, with what must hold for it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "framework/engine/experiment.hpp"
#include "tests/support/synthetic.hpp"

namespace strata::tests {

/// Random pictures of the experiment's labels and bands.
inline Batch batch_for(const Segmentor& model, const Experiment& experiment, std::int64_t size) {
  return synthetic_batch(experiment.labels, model.dates(), experiment.data.channels, 2, size, size);
}

/// `all_used`: every trainable parameter must get a gradient (a head that reads one level of HRNet
/// leaves what only the others need without one).
inline void step(Segmentor& model, const Batch& batch, bool all_used) {
  model.train();
  TrainContext context;
  const Losses losses = model.train_step(batch, context);
  ASSERT_FALSE(losses.terms.empty());
  for (const auto& [name, value] : losses.terms) {
    EXPECT_TRUE(std::isfinite(value.item<double>())) << name;
  }
  std::set<std::string> parts, reached;
  for (const auto& item : model.named_parameters()) {
    if (!item.value().requires_grad()) continue;
    const std::string part = item.key().substr(0, item.key().find('.'));
    parts.insert(part);
    if (item.value().grad().defined()) reached.insert(part);
    if (all_used) {
      EXPECT_TRUE(item.value().grad().defined()) << item.key() << " has no gradient";
    }
  }
  EXPECT_EQ(parts, reached);
  model.eval();
  at::NoGradGuard no_grad;
  for (const auto& [name, output] : model.predict(batch)) {
    EXPECT_TRUE(at::isfinite(output.data).all().item<bool>()) << name;
    EXPECT_EQ(labels(output).sizes(),
              (at::IntArrayRef{batch.size(), batch.height(), batch.width()}))
        << name;
  }
}

inline void step(Segmentor& model, const Experiment& experiment, std::int64_t size, bool all_used) {
  step(model, batch_for(model, experiment, size), all_used);
}

}  // namespace strata::tests
