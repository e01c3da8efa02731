// Drawings of numbers: lines over steps as SVG, confusion matrices as coloured tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/metrics/metric.hpp"

namespace strata::engine::html {

using Points = std::vector<std::pair<double, double>>;  // step, value; steps ascend

struct Series {
  std::string name;
  Points points;
};

/// Lines with axes and a legend that gives each one's last value; "" when there is nothing to draw.
/// With `by_factors`, values all above zero that span more than a factor of 30 get a logarithmic
/// axis. Lines of more points than the drawing has room for show means of neighbours.
STRATA_API std::string line_chart(const std::string& title, const std::vector<Series>& series,
                                  bool by_factors = false);

/// Shares of each true class that were predicted as each class; of more classes than fit, the
/// largest confusions as a list.
STRATA_API std::string confusion_table(const ConfusionTable& table);
/// The same in a box with a title; of many classes as wide as the page.
STRATA_API std::string confusion_box(const std::string& metric, const ConfusionTable& table);

/// Classes against scores, with a bar behind each number.
STRATA_API std::string score_table(const ScoreTable& table);

}  // namespace strata::engine::html
