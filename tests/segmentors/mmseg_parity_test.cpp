// Whole models against mmseg: keys, features, logits, losses, gradients, running statistics.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <regex>

#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

struct Measured {
  parity::Result result;
  at::Tensor label;
};

Measured run(const parity::Case& fixture, const std::string& mode, Segmentor& model,
             const LabelSpec& label, at::ScalarType dtype, at::MemoryFormat format) {
  model.zero_grad();
  for (auto& parameter : model.parameters()) {
    parameter.set_data(parameter.data().to(dtype).contiguous(
        parameter.dim() == 4 ? format : at::MemoryFormat::Contiguous));
  }
  for (auto& buffer : model.buffers()) {
    if (buffer.is_floating_point()) buffer.set_data(buffer.data().to(dtype));
  }
  parity::fill(model);
  model.train(mode == "train");
  Measured made;
  model.attach_probe([&](const std::string& name, const at::Tensor& value) {
    made.result.tensors[name] = value.detach().clone();
  });
  Batch batch;
  at::Tensor image = parity::uniform("image", fixture.inputs.at("image")).to(dtype);
  batch.images = {image.contiguous(format).requires_grad_()};
  batch.targets["label"] = {parity::label_value("label", fixture.inputs.at("label"),
                                                label.num_classes(), label.ignore_index),
                            label};
  if (mode == "eval") {
    at::NoGradGuard no_grad;
    const Outputs outputs = model.predict(batch);
    made.result.tensors["out.logits"] = outputs.front().second.data;
    made.label = labels(outputs.front().second);
    return made;
  }
  TrainContext context;
  const Losses losses = model.train_step(batch, context);
  made.result.scalars["loss.total"] = losses.total().item<double>();
  for (const auto& [name, value] : losses.terms) {
    made.result.scalars["loss." + name] = value.item<double>();
  }
  for (const auto& [name, value] : losses.logged) made.result.scalars[name] = value.item<double>();
  made.result.tensors["grad.image"] = batch.images.front().grad();
  parity::collect(model, made.result);
  return made;
}

class SegmentorParity : public testing::TestWithParam<std::string> {};

TEST_P(SegmentorParity, MatchesMmseg) {
  parity::Case fixture = parity::read_case(GetParam());
  // mmseg's Dice: one overlap a sample, ignored pixels predicted count.
  const std::string toml =
      std::regex_replace(fixture.strata, std::regex("type = \"DiceLoss\"\n"),
                         "type = \"DiceLoss\"\nper = \"sample\"\naverage = \"all\"\n") +
      "[model.preprocessor]\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n";
  LabelSpec label;
  for (std::int64_t i = 0; i < fixture.num_classes; ++i) {
    label.classes.push_back("c" + std::to_string(i));
  }
  label.ignore_index = fixture.ignore_index;
  label.name = "label";
  auto model = bind_slot<Segmentor>(toml, "model").build({LabelSpecs({{"label", label}}), 3});
  parity::expect_keys(fixture.keys, *model);

  // mmseg runs auxiliary heads at prediction too, to no effect. Its accuracy is a float32 number,
  // and so is a part of its Dice, whatever the logits are.
  fixture.modes.at("eval").tensors.erase("out.auxiliary_head.logits");
  std::map<std::string, double> rounded;
  auto& scalars = fixture.modes.at("train").scalars;
  const bool dice = scalars.count("loss.decode_head.dice") != 0;
  for (const char* name :
       {"decode_head.acc_seg", "auxiliary_head.acc_seg", "loss.decode_head.dice", "loss.total"}) {
    const auto found = scalars.find(name);
    if (found == scalars.end() || (std::string(name) == "loss.total" && !dice)) continue;
    rounded[name] = found->second.absmax;
    scalars.erase(found);
  }
  EXPECT_TRUE(rounded.count("decode_head.acc_seg"));

  for (const std::string mode : {"eval", "train"}) {
    const Measured exact =
        run(fixture, mode, *model, label, at::kDouble, at::MemoryFormat::Contiguous);
    parity::expect_equal(fixture, mode, exact.result);
    if (testing::Test::HasFatalFailure()) return;
    if (mode == "eval") {
      EXPECT_TRUE(at::equal(exact.label, fixture.arrays.at("eval/out.label").to(at::kLong)));
    } else {
      for (const auto& [name, want] : rounded) {
        EXPECT_NEAR(exact.result.scalars.at(name), want, 0x1p-23 * want) << name;
      }
    }
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      SCOPED_TRACE(format == at::MemoryFormat::ChannelsLast ? "channels last" : "row major");
      parity::expect_close32(fixture, mode,
                             run(fixture, mode, *model, label, at::kFloat, format).result,
                             exact.result);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SegmentorParity, testing::ValuesIn(parity::case_names("segmentor")),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace strata::tests
