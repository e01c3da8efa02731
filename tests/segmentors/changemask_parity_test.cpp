// ChangeMask on EfficientNet-B0 against torchange's: keys, features, logits, losses, gradients,
// running statistics, in evaluation and in training with drop connect off.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/io/weights.hpp"
#include "necks/neck.hpp"
#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests::changemask_parity {
namespace {

LabelSpecs labels() {
  config::Named<LabelSpec> named;
  for (const LabelSpec& label : {label_of("before", 6), label_of("after", 6, "semantic", 1),
                                 label_of("change", 2, "change")}) {
    named.emplace_back(label.name, label);
  }
  return LabelSpecs(std::move(named));
}

/// Names of the reference's results, which knows of no slots.
std::string plain(std::string name) {
  for (const std::string slot : {"decode_head.0.", "decode_head.1.", "joint_loss."}) {
    const auto at = name.find(slot);
    if (at != std::string::npos) name.erase(at, slot.size());
  }
  return name == "out.logits" ? "out.change.logits" : name;
}

parity::Result run(const parity::Case& fixture, const std::string& mode, Segmentor& model,
                   at::ScalarType dtype, at::MemoryFormat format) {
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
  parity::Result result;
  model.attach_probe([&](const std::string& name, const at::Tensor& value) {
    if (!name.starts_with("neck.")) result.tensors[plain(name)] = value.detach().clone();
  });
  Batch batch;
  for (const char* name : {"image_0", "image_1"}) {
    const at::Tensor image = parity::uniform(name, fixture.inputs.at(name)).to(dtype);
    batch.images.push_back(image.contiguous(format).requires_grad_());
  }
  const bool ignored = fixture.name.ends_with("options");
  const LabelSpecs specs = labels();
  for (const LabelSpec& label : specs.all()) {
    const std::int64_t ignore = label.role == "change" && !ignored ? -1 : label.ignore_index;
    batch.targets[label.name] = {parity::label_value(label.name, fixture.inputs.at(label.name),
                                                     label.num_classes(), ignore),
                                 label};
  }
  if (mode == "eval") {
    const at::NoGradGuard no_grad;
    const Outputs outputs = model.predict(batch);
    EXPECT_EQ(outputs.size(), 3U);
    for (const auto& [name, output] : outputs) {
      EXPECT_TRUE(at::equal(output.data, result.tensors.at("out." + name)));  // of full size
    }
    return result;
  }
  TrainContext context;
  const Losses losses = model.train_step(batch, context);
  result.scalars["loss.total"] = losses.total().item<double>();
  for (const auto& [name, value] : losses.terms) {
    result.scalars[plain("loss." + name)] = value.item<double>();
  }
  for (std::size_t d = 0; d < 2; ++d) {
    result.tensors["grad.image_" + std::to_string(d)] = batch.images[d].grad();
  }
  parity::collect(model, result);
  return result;
}

class ChangeMaskParity : public testing::TestWithParam<std::string> {};

TEST_P(ChangeMaskParity, EqualsTorchange) {
  const parity::Case fixture = parity::read_case(GetParam());
  const auto model = bind_slot<Segmentor>(fixture.strata, "model").build({labels(), 3});
  parity::expect_keys(fixture.keys, *model);
  for (const std::string mode : {"eval", "train"}) {
    SCOPED_TRACE(mode);
    const parity::Result exact =
        run(fixture, mode, *model, at::kDouble, at::MemoryFormat::Contiguous);
    parity::expect_equal(fixture, mode, exact);
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      SCOPED_TRACE(format == at::MemoryFormat::ChannelsLast ? "channels last" : "row major");
      parity::expect_close32(fixture, mode, run(fixture, mode, *model, at::kFloat, format), exact);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ChangeMaskParity,
                         testing::ValuesIn(parity::case_names("changemask")),
                         [](const auto& test) { return test.param; });

std::int64_t count(const std::vector<at::Tensor>& tensors) {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += tensor.numel();
  return sum;
}

// The published sizes of every variant, with the parts that no result depends on.
TEST(ChangeMask, HasAsManyParametersAsTorchanges) {
  struct Size {
    std::int64_t model, tensors, decoder, transformer, factorised;
  };
  const std::vector<Size> sizes = {{10623035, 518, 2243776, 2127816, 1302338},
                                   {13128671, 666, 2243776, 2127816, 1302338},
                                   {14952481, 666, 2345152, 2561064, 1567282},
                                   {18698951, 732, 2462656, 3077288, 1882994},
                                   {27094071, 864, 2676928, 4191480, 2564282},
                                   {39513055, 1012, 2875072, 5422008, 3316634},
                                   {53787095, 1144, 3089344, 6872584, 4203490},
                                   {78912175, 1358, 3308224, 8508648, 5203730}};
  const auto find = [](const torch::nn::Module& model, const std::string& name) {
    return model.named_modules()[name]->parameters();
  };
  for (std::size_t b = 0; b < sizes.size(); ++b) {
    const std::string variant = "b" + std::to_string(b);
    SCOPED_TRACE(variant);
    const std::string head =
        "{type = \"FCNHead\", neck = {type = \"UnetDecoder\"}, num_convs = 0, concat_input = false, "
        "channels = 16, dropout = 0.0, ";
    const std::string toml =
        "[model]\ntype = \"ChangeMask\"\nbackbone = {type = \"EfficientNet\", variant = \"" +
        variant + "\", out_indices = [-1, 0, 1, 2, 3], keep_head = true}\n" +
        "neck = {type = \"TemporalSymmetricTransformer\", image_channels = 3}\ndecode_head = [" +
        head + "target = [\"before\", \"after\"]}, " + head +
        "target = \"change\", out_channels = 1}]\n";
    const auto model = bind_slot<Segmentor>(toml, "model").build({labels(), 3});
    EXPECT_EQ(count(model->parameters()), sizes[b].model);
    EXPECT_EQ(io::state_of(*model).size(), sizes[b].tensors);
    EXPECT_EQ(count(find(*model, "neck")), sizes[b].transformer);
    EXPECT_EQ(count(find(*model, "decode_head.0.neck")), sizes[b].decoder);
    EXPECT_EQ(count(find(*model, "decode_head.1.neck")), sizes[b].decoder);
    const std::vector<std::vector<std::int64_t>> channels = {
        {32, 24, 40, 112, 320}, {32, 24, 40, 112, 320}, {32, 24, 48, 120, 352},
        {40, 32, 48, 136, 384}, {48, 32, 56, 160, 448}, {48, 40, 64, 176, 512},
        {56, 40, 72, 200, 576}, {64, 48, 80, 224, 640}};
    const auto factorised =
        bind_slot<Neck>(
            "neck = {type = \"TemporalSymmetricTransformer\", interaction_type = \"conv1plus2d\", "
            "image_channels = 3}\n",
            "neck")
            .build({levels_of(channels[b], 2)});
    EXPECT_EQ(count(factorised->parameters()), sizes[b].factorised);
  }
}

}  // namespace
}  // namespace strata::tests::changemask_parity
