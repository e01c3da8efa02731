// Comparing a component with its reference implementation: the fixtures of tests/data/parity and
// the formula that fills weights and inputs on both sides (tests/parity/README.md describes both).
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/model/batch.hpp"

namespace strata::tests::parity {

/// The counter formula. `uniform` is v in [-1, 1), float64.
std::uint64_t fnv1a64(const std::string& name);
std::uint64_t counter(std::uint64_t hash, std::uint64_t index);  // z(i)
at::Tensor uniform(const std::string& name, at::IntArrayRef shape);
at::Tensor state_value(const std::string& name, const at::Tensor& like);
at::Tensor label_value(const std::string& name, at::IntArrayRef shape, std::int64_t num_classes,
                       std::int64_t ignore_index = -1);
/// Fills every parameter and buffer by its name; `prefix` goes in front ("backbone.").
void fill(torch::nn::Module& module, const std::string& prefix = "");

/// Everything a forward and backward pass gave.
struct Result {
  std::map<std::string, at::Tensor> tensors;  // "feat.0", "grad.image", …
  std::map<std::string, double> scalars;      // "loss.total", …
  std::map<std::string, at::Tensor> grads;    // every parameter; undefined where none arrived
  std::map<std::string, at::Tensor> buffers;  // every running_mean and running_var
};

/// Parameter gradients and running statistics of a module after its backward pass.
void collect(const torch::nn::Module& module, Result& result);

struct Case {
  struct Limits {
    double absmax = 0, err32 = 0;
  };
  struct Mode {
    std::map<std::string, Limits> tensors;
    std::map<std::string, Limits> scalars;  // absmax is the value
    double grads_norm = 0, grads_err32 = 0;
    bool has_grads = false;
  };
  std::string name, strata, keys;  // strata: TOML of the component; keys: "keys/resnet18.txt"
  std::map<std::string, std::vector<std::int64_t>> inputs;
  std::int64_t num_classes = 0, ignore_index = -1;
  std::map<std::string, Mode> modes;  // "eval", "train"
  std::map<std::string, at::Tensor> arrays;
};

/// Reads tests/data/parity/<name>.safetensors.
Case read_case(const std::string& name);
/// Names of the cases of a kind ("backbone", "neck", "head", "segmentor").
std::vector<std::string> case_names(const std::string& kind);

/// float64 against the fixture: every tensor, scalar, gradient and statistic that it has.
void expect_equal(const Case& fixture, const std::string& mode, const Result& got);
/// float32 against our own float64: at most twice the reference's own float32 error.
void expect_close32(const Case& fixture, const std::string& mode, const Result& got32,
                    const Result& got64);
/// A key list as tests/parity/fixture.py writes it.
struct KeyList {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  std::int64_t parameters = -1;
};
KeyList read_keys(const std::string& file);
/// Names, shapes and counts of a module's state against a key list.
void expect_keys(const std::string& file, const torch::nn::Module& module);

/// Runs a component alone (backbone, neck, head) the way the fixtures were made: filled weights,
/// inputs by name, probe loss, backward. `forward` maps the inputs, in the order of their names, to
/// named outputs.
using Forward = std::function<TensorMap(const std::vector<at::Tensor>& inputs)>;
Result run_component(const Case& fixture, const std::string& mode, torch::nn::Module& module,
                     const Forward& forward, at::ScalarType dtype, at::MemoryFormat format);

/// The whole check of one component case: keys, both modes, float64, then float32 in both layouts.
/// `make` builds the module from the case's TOML and returns it with its forward.
using Make = std::function<std::pair<std::shared_ptr<torch::nn::Module>, Forward>(const Case&)>;
void check_component(const std::string& name, const Make& make);

}  // namespace strata::tests::parity
