// Means of logged values over the steps between two log lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::engine {

/// Values stay on their device until someone asks, so that adding them never waits for a GPU. Sums
/// are kept in double and in the order of the steps: a run that is saved and resumed in the middle
/// of a window gives the same numbers.
class STRATA_API Window {
 public:
  /// Adds scalar tensors, each `weight` times (1/n for one of n accumulated batches); `batch` is
  /// the number of the batch they are of.
  void add(const TensorMap& values, double weight, std::int64_t batch = -1);
  void add(const std::string& name, double value, double weight = 1.0);
  /// The means by name in the order of first appearance; the window begins anew.
  std::vector<std::pair<std::string, double>> take();
  struct Bad {
    std::string name;
    std::int64_t batch = -1;  // -1: not known
  };
  /// The first value of this window that is not finite, rather a term than the total "loss";
  /// waits for the device.
  std::optional<Bad> not_finite();

  /// As JSON text, exactly.
  std::string save();
  void load(const std::string& text);

 private:
  struct Sum {
    std::string name;
    double sum = 0.0;
    double weight = 0.0;
  };
  void fold();
  void put(const std::string& name, double value, double weight, std::int64_t batch);

  struct Unread {
    double weight;
    std::int64_t batch;
    TensorMap values;
  };
  std::vector<Sum> sums_;
  std::vector<Unread> unread_;
  std::optional<Bad> bad_;
};

}  // namespace strata::engine
