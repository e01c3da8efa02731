#include "tests/support/parity.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"

namespace strata::tests::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(STRATA_SOURCE_DIR) / "tests/data/parity";

double unit(std::uint64_t z) { return static_cast<double>(z >> 11) * 0x1p-53; }

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

at::Tensor flat64(const at::Tensor& tensor) {
  return tensor.detach().to(at::kDouble).contiguous().view(-1);
}

/// dot(tensor, v(name#k)) without materialising v.
double projection(const std::string& name, std::int64_t k, const at::Tensor& flat) {
  const std::uint64_t hash = fnv1a64(name + "#" + std::to_string(k));
  const double* data = flat.data_ptr<double>();
  double sum = 0;
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    sum += data[i] * (2 * unit(counter(hash, static_cast<std::uint64_t>(i))) - 1);
  }
  return sum;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (flat64(a) - flat64(b)).abs().max().item<double>();
}

/// The largest error as a share of what is allowed, by kind of quantity. STRATA_PARITY_REPORT names
/// a file that gets one line of JSON a comparison: the figures of docs/fidelity.md.
class Worst {
 public:
  static void note(const std::string& kind, double error, double limit) {
    double& worst = shares_[kind];
    worst = std::max(worst, limit > 0 ? error / limit : (error > 0 ? 1e9 : 0));
  }
  static void flush(const std::string& name, const std::string& mode) {
    if (const char* path = std::getenv("STRATA_PARITY_REPORT")) {
      std::ofstream(path, std::ios::app)
          << nlohmann::json{{"case", name}, {"mode", mode}, {"shares", shares_}}.dump() << "\n";
    }
    shares_.clear();
  }

 private:
  static inline std::map<std::string, double> shares_;
};

/// "forward", "loss", "gradient" or "statistic" of float64.
std::string kind_of(const std::string& name) {
  if (name.rfind("grad", 0) == 0) return "gradient";
  return name.rfind("loss", 0) == 0      ? "loss"
         : name.rfind("buffers", 0) == 0 ? "statistic"
                                         : "forward";
}

void expect_within(double got, double want, double limit, const std::string& what,
                   const std::string& kind) {
  Worst::note(kind, std::abs(got - want), limit);
  EXPECT_LE(std::abs(got - want), limit) << what << ": got " << got << ", want " << want;
}

void expect_tensor(const Case& fixture, const std::string& key, const std::string& name,
                   const at::Tensor& tensor, double limit) {
  const std::string what = fixture.name + " " + key;
  const at::Tensor flat = flat64(tensor);
  if (const auto whole = fixture.arrays.find(key); whole != fixture.arrays.end()) {
    ASSERT_EQ(tensor.sizes(), whole->second.sizes()) << what;
    const double error = largest_difference(flat, whole->second);
    Worst::note(kind_of(name), error, limit);
    EXPECT_LE(error, limit) << what;
    return;
  }
  const at::Tensor samples = fixture.arrays.at(key + "#samples");
  const at::Tensor projections = fixture.arrays.at(key + "#proj");
  const std::uint64_t hash = fnv1a64(name + "#idx");
  double worst = 0;
  for (std::int64_t j = 0; j < samples.numel(); ++j) {
    const auto position = static_cast<std::int64_t>(counter(hash, static_cast<std::uint64_t>(j)) %
                                                    static_cast<std::uint64_t>(flat.numel()));
    worst = std::max(worst,
                     std::abs(flat.data_ptr<double>()[position] - samples.data_ptr<double>()[j]));
  }
  Worst::note(kind_of(name), worst, limit);
  EXPECT_LE(worst, limit) << what;
  for (std::int64_t k = 0; k < projections.numel(); ++k) {
    expect_within(projection(name, k, flat), projections.data_ptr<double>()[k],
                  limit * std::sqrt(static_cast<double>(flat.numel())), what + "#proj",
                  kind_of(name));
  }
}

/// Evaluation folds batch norms away where no gradient is recorded. `module` is as run_component
/// left it: in evaluation mode, float64, channels-last.
void expect_forward_without_gradients(const Case& fixture, torch::nn::Module& module,
                                      const Forward& forward, const Result& exact) {
  const at::NoGradGuard no_grad;
  for (const auto type : {at::kDouble, at::kFloat}) {
    for (auto& [name, tensor] : io::state_of(module)) {
      if (tensor.is_floating_point()) tensor.set_data(tensor.data().to(type));
    }
    std::vector<at::Tensor> inputs;
    for (const auto& [name, shape] : fixture.inputs) {
      const at::Tensor input = uniform(name, shape).to(type);
      inputs.push_back(input.dim() == 4 ? input.contiguous(at::MemoryFormat::ChannelsLast) : input);
    }
    for (const auto& [name, tensor] : forward(inputs)) {
      const Case::Limits& limits = fixture.modes.at("eval").tensors.at(name);
      EXPECT_LE(largest_difference(tensor, exact.tensors.at(name)),
                type == at::kDouble ? 1e-10 * limits.absmax : 2 * limits.err32)
          << fixture.name << " without gradients " << name << ", absmax " << limits.absmax;
    }
  }
}

struct OneThread {
  int before = at::get_num_threads();
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
};

Case::Mode read_mode(const nlohmann::json& json) {
  Case::Mode mode;
  for (const auto& [name, info] : json.at("tensors").items()) {
    mode.tensors[name] = {info.at("absmax"), info.at("err32")};
  }
  for (const auto& [name, info] : json.at("scalars").items()) {
    mode.scalars[name] = {info.at("value"), info.at("err32")};
  }
  if (json.contains("grads")) {
    mode.has_grads = true;
    mode.grads_norm = json["grads"].at("norm");
    mode.grads_err32 = json["grads"].at("err32_norm");
  }
  return mode;
}

}  // namespace

std::uint64_t fnv1a64(const std::string& name) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

std::uint64_t counter(std::uint64_t hash, std::uint64_t index) {
  std::uint64_t z = hash + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

at::Tensor uniform(const std::string& name, at::IntArrayRef shape) {
  at::Tensor values = at::empty(shape, at::kDouble);
  const std::uint64_t hash = fnv1a64(name);
  double* data = values.data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    data[i] = 2 * unit(counter(hash, static_cast<std::uint64_t>(i))) - 1;
  }
  return values;
}

at::Tensor state_value(const std::string& name, const at::Tensor& like) {
  if (ends_with(name, "num_batches_tracked")) return at::zeros_like(like);
  const at::Tensor v = uniform(name, like.sizes());
  if (ends_with(name, "running_mean")) return 0.1 * v;
  if (ends_with(name, "running_var")) return 1 + 0.25 * (v + 1);
  if (like.dim() >= 2) {
    return v * std::sqrt(3.0 / static_cast<double>(like.numel() / like.size(0)));
  }
  return name == "weight" || ends_with(name, ".weight") ? 1 + 0.1 * v : 0.1 * v;
}

at::Tensor label_value(const std::string& name, at::IntArrayRef shape, std::int64_t num_classes,
                       std::int64_t ignore_index) {
  at::Tensor label = at::empty(shape, at::kLong);
  const std::uint64_t hash = fnv1a64(name);
  for (std::int64_t i = 0; i < label.numel(); ++i) {
    const std::uint64_t z = counter(hash, static_cast<std::uint64_t>(i));
    const bool ignored = ignore_index >= 0 && (z >> 32) % 10 == 0;
    label.data_ptr<std::int64_t>()[i] =
        ignored ? ignore_index
                : static_cast<std::int64_t>(z % static_cast<std::uint64_t>(num_classes));
  }
  return label;
}

void fill(torch::nn::Module& module, const std::string& prefix) {
  at::NoGradGuard no_grad;
  for (auto& [name, tensor] : io::state_of(module)) {
    if (ends_with(name, "relative_position_index")) continue;  // a table, the same on both sides
    tensor.copy_(state_value(prefix + name, tensor));
  }
}

void collect(const torch::nn::Module& module, Result& result) {
  for (const auto& item : module.named_parameters()) {
    result.grads[item.key()] =
        item.value().grad().defined() ? item.value().grad().clone() : at::zeros_like(item.value());
  }
  for (const auto& item : module.named_buffers()) {
    if (item.value().is_floating_point()) {
      result.buffers[item.key()] = item.value().clone();
    }
  }
}

Case read_case(const std::string& name) {
  io::TensorFile file = io::read_safetensors((kData / (name + ".safetensors")).string());
  const auto json = nlohmann::json::parse(file.metadata.at("case"));
  Case fixture;
  fixture.name = name;
  fixture.strata = json.at("strata");
  fixture.keys = json.at("keys");
  fixture.inputs = json.at("inputs");
  fixture.num_classes = json.value("num_classes", std::int64_t{0});
  fixture.ignore_index = json.value("ignore_index", std::int64_t{-1});
  for (const auto& [mode, info] : json.at("modes").items()) fixture.modes[mode] = read_mode(info);
  for (auto& [key, tensor] : file.tensors) fixture.arrays[key] = tensor;
  return fixture;
}

std::vector<std::string> case_names(const std::string& kind) {
  std::ifstream stream(kData / "cases.json");
  std::vector<std::string> names;
  for (const auto& entry : nlohmann::json::parse(stream)) {
    if (entry.at("kind") == kind) names.push_back(entry.at("name"));
  }
  return names;
}

void expect_equal(const Case& fixture, const std::string& mode, const Result& got) {
  const Case::Mode& want = fixture.modes.at(mode);
  for (const auto& [name, limits] : want.tensors) {
    ASSERT_TRUE(got.tensors.count(name)) << fixture.name << " " << mode << " " << name;
    const double relative = name.rfind("grad.", 0) == 0 ? 1e-8 : 1e-10;
    expect_tensor(fixture, mode + "/" + name, name, got.tensors.at(name), relative * limits.absmax);
  }
  for (const auto& [name, value] : want.scalars) {
    ASSERT_TRUE(got.scalars.count(name)) << fixture.name << " " << mode << " " << name;
    expect_within(got.scalars.at(name), value.absmax, 1e-10 * std::abs(value.absmax),
                  fixture.name + " " + mode + " " + name, kind_of(name));
  }
  const auto rows = [&](const char* key, const std::map<std::string, at::Tensor>& tensors,
                        std::int64_t projections, double limit) {
    const at::Tensor table = fixture.arrays.at(mode + "/" + key);
    ASSERT_EQ(table.size(0), static_cast<std::int64_t>(tensors.size())) << fixture.name << key;
    const double* row = table.data_ptr<double>();
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor flat = flat64(tensor);
      const double norm = row[projections];
      const double allowed = limit > 0 ? limit : 1e-10 * norm;
      const std::string what = fixture.name + " " + mode + " " + key + " " + name;
      expect_within(flat.norm().item<double>(), norm, allowed, what, kind_of(key));
      for (std::int64_t k = 0; k < projections; ++k) {
        expect_within(projection(name, k, flat), row[k], allowed, what, kind_of(key));
      }
      row += table.size(1);
    }
  };
  if (want.has_grads) rows("grads", got.grads, 4, 1e-8 * want.grads_norm);
  if (fixture.arrays.count(mode + "/buffers")) rows("buffers", got.buffers, 2, 0);
  Worst::flush(fixture.name, mode);
}

void expect_close32(const Case& fixture, const std::string& mode, const Result& got32,
                    const Result& got64) {
  const Case::Mode& want = fixture.modes.at(mode);
  for (const auto& [name, limits] : want.tensors) {
    // Gradients are judged by their norm below: single ReLUs that flip change them visibly.
    if (name.rfind("grad.", 0) == 0 && mode == "train") continue;
    const double error = largest_difference(got32.tensors.at(name), got64.tensors.at(name));
    Worst::note("forward32", error, limits.err32);
    EXPECT_LE(error, 2 * limits.err32)
        << fixture.name << " " << mode << " float32 " << name << ", absmax " << limits.absmax;
  }
  if (!want.has_grads) return Worst::flush(fixture.name, mode);
  double squared = 0;
  for (const auto& [name, grad] : got64.grads) {
    squared += (flat64(got32.grads.at(name)) - flat64(grad)).square().sum().item<double>();
  }
  Worst::note("gradient32", std::sqrt(squared), want.grads_err32);
  EXPECT_LE(std::sqrt(squared), 2 * want.grads_err32)
      << fixture.name << " " << mode << " float32 gradients, norm " << want.grads_norm;
  Worst::flush(fixture.name, mode);
}

KeyList read_keys(const std::string& file) {
  KeyList keys;
  std::ifstream stream(kData / file);
  EXPECT_TRUE(stream) << file;
  const auto sizes = [](std::istringstream text) {
    std::vector<std::int64_t> shape;
    for (std::string size; std::getline(text, size, ',');) shape.push_back(std::stoll(size));
    return shape;
  };
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string name, shape, channels;
    words >> name >> shape >> channels;
    if (name == "#") {
      if (shape == "parameters") keys.parameters = std::stoll(channels);
    } else if (shape == "bn") {
      for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
        keys.shapes[name + part] = {std::stoll(channels)};
      }
      keys.shapes[name + ".num_batches_tracked"] = {};
    } else {
      keys.shapes[name] = sizes(std::istringstream(shape));
    }
  }
  return keys;
}

void expect_keys(const std::string& file, const torch::nn::Module& module) {
  const KeyList want = read_keys(file);
  std::map<std::string, std::vector<std::int64_t>> got;
  std::int64_t parameters = 0;
  for (const auto& item : module.named_parameters()) parameters += item.value().numel();
  for (const auto& [name, tensor] : io::state_of(module)) got[name] = tensor.sizes().vec();
  EXPECT_EQ(got, want.shapes) << file;
  EXPECT_EQ(parameters, want.parameters) << file;
}

Result run_component(const Case& fixture, const std::string& mode, torch::nn::Module& module,
                     const Forward& forward, at::ScalarType dtype, at::MemoryFormat format) {
  for (auto& [name, tensor] : io::state_of(module)) {
    tensor.mutable_grad().reset();
    if (!tensor.is_floating_point()) continue;
    tensor.set_data(tensor.data().to(dtype).contiguous(
        tensor.dim() == 4 ? format : at::MemoryFormat::Contiguous));
  }
  fill(module);
  module.train(mode == "train");
  std::vector<at::Tensor> inputs;
  Result result;
  for (const auto& [name, shape] : fixture.inputs) {
    at::Tensor input = uniform(name, shape).to(dtype);
    if (input.dim() == 4) input = input.contiguous(format);
    inputs.push_back(input.requires_grad_());
  }
  at::Tensor loss;
  for (const auto& [name, tensor] : forward(inputs)) {
    const at::Tensor probe = uniform(name + "#probe", tensor.sizes()).to(dtype);
    const at::Tensor term = (tensor * probe).sum() / std::sqrt(static_cast<double>(tensor.numel()));
    loss = loss.defined() ? loss + term : term;
    result.tensors[name] = tensor.detach().clone();
  }
  loss.backward();
  result.scalars["loss.probe"] = loss.item<double>();
  std::size_t i = 0;
  for (const auto& [name, shape] : fixture.inputs) {
    const at::Tensor grad = inputs[i++].grad();
    if (grad.defined()) result.tensors["grad." + name] = grad.clone();
  }
  collect(module, result);
  return result;
}

void check_component(const std::string& name, const Make& make) {
  // As the reference ran: the number of threads decides the order of float32 sums.
  const OneThread one_thread;
  const Case fixture = read_case(name);
  const auto [module, forward] = make(fixture);
  expect_keys(fixture.keys, *module);
  for (const auto& [mode, info] : fixture.modes) {
    const Result exact =
        run_component(fixture, mode, *module, forward, at::kDouble, at::MemoryFormat::Contiguous);
    expect_equal(fixture, mode, exact);
    if (testing::Test::HasFatalFailure()) return;
    {
      SCOPED_TRACE("float64, channels last");
      expect_equal(fixture, mode,
                   run_component(fixture, mode, *module, forward, at::kDouble,
                                 at::MemoryFormat::ChannelsLast));
      if (mode == "eval") expect_forward_without_gradients(fixture, *module, forward, exact);
    }
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      SCOPED_TRACE(format == at::MemoryFormat::ChannelsLast ? "channels last" : "row major");
      expect_close32(fixture, mode,
                     run_component(fixture, mode, *module, forward, at::kFloat, format), exact);
    }
  }
}

}  // namespace strata::tests::parity
