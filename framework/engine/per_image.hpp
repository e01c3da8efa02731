// Scores of every image as a table.
#pragma once

#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/engine/evaluator.hpp"

namespace strata::engine {

/// Collects what an Evaluator visits and writes it as CSV (RFC 4180): a row an image with `set` (if
/// sets are named), `name`, `image` (`image_0`, `image_1`, … of several dates) and every number
/// that the metrics give for that image alone; empty where it is not defined.
class STRATA_API PerImageCsv {
 public:
  void add(const Visit& visit);
  std::string text() const;

 private:
  struct Row {
    std::string set, name;
    std::vector<std::string> paths;
    Scores scores;
  };
  std::vector<Row> rows_;
};

}  // namespace strata::engine
