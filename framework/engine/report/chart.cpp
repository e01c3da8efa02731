#include "framework/engine/report/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/engine/report/html.hpp"

namespace strata::engine::html {
namespace {

constexpr std::size_t kColours = 8;
constexpr std::size_t kMostPoints = 400;     // of a line; the drawing is 510 units wide
constexpr std::size_t kMostClasses = 32;     // of a matrix
constexpr std::size_t kWideClasses = 7;      // of a matrix whose names are shown whole
constexpr std::size_t kSmallClasses = 20;    // of a matrix in letters of usual size
constexpr std::size_t kMostConfusions = 25;  // of a list

/// 1, 2 or 5 times a power of ten, at least `size`.
double round_step(double size) {
  const double power = std::pow(10.0, std::floor(std::log10(size)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (size <= factor * power * (1 + 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string tick_text(double value) {
  if (std::abs(value) < 1e-12) return "0";
  if (std::abs(value) >= 1e4) {
    return std::fmod(value, 1e3) == 0 ? fmt::format("{:g}k", value / 1e3)
                                      : fmt::format("{:g}", value);
  }
  return fmt::format("{:.4g}", value);
}

/// From values to the drawing, with ticks at round numbers.
struct Axis {
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<double> ticks;

  double place(double value) const {  // 0 to 1
    return logarithmic ? std::log(value / low) / std::log(high / low)
                       : (value - low) / (high - low);
  }
  static Axis over(double low, double high, int parts) {
    Axis axis;
    if (low == high) {
      const double room = low == 0 ? 1 : std::abs(low) * 0.1;
      low -= room;
      high += room;
    }
    const double step = round_step((high - low) / parts);
    axis.low = std::floor(low / step + 1e-9) * step;
    axis.high = std::ceil(high / step - 1e-9) * step;
    for (int i = 0; axis.low + i * step <= axis.high + step / 2; ++i) {
      axis.ticks.push_back(axis.low + i * step);
    }
    return axis;
  }
  static Axis over_powers(double low, double high) {
    Axis axis;
    axis.logarithmic = true;
    axis.low = std::pow(10.0, std::floor(std::log10(low) + 1e-9));
    axis.high = std::pow(10.0, std::ceil(std::log10(high) - 1e-9));
    const bool few = axis.high / axis.low < 2e3;
    for (double power = axis.low; power <= axis.high * 1.001; power *= 10) {
      axis.ticks.push_back(power);
      if (few && power * 3 < axis.high) axis.ticks.push_back(power * 3);
    }
    return axis;
  }
};

Points thinned(const Points& points) {
  const std::size_t size = (points.size() + kMostPoints - 1) / kMostPoints;
  if (size <= 1) return points;
  Points means;
  for (std::size_t begin = 0; begin < points.size(); begin += size) {
    const std::size_t end = std::min(begin + size, points.size());
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += points[i].second;
    means.emplace_back(points[end - 1].first, sum / static_cast<double>(end - begin));
  }
  return means;
}

std::string colour(std::size_t i) { return fmt::format("var(--c{})", i % kColours); }
std::string dashes(std::size_t i) {
  return i < kColours ? ""
                      : fmt::format(" stroke-dasharray=\"{} 3\"",
                                    std::max<std::size_t>(6 / (i / kColours), 1));
}

}  // namespace

std::string line_chart(const std::string& title, const std::vector<Series>& series,
                       bool by_factors) {
  double right = 0, low = INFINITY, high = -INFINITY;
  std::vector<Series> drawn;
  for (const Series& one : series) {
    Series line{one.name, {}};
    for (const auto& point : one.points) {
      if (std::isfinite(point.second)) line.points.push_back(point);
    }
    if (line.points.empty()) continue;
    line.points = thinned(line.points);
    for (const auto& [step, value] : line.points) {
      right = std::max(right, step);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    drawn.push_back(std::move(line));
  }
  if (drawn.empty()) return "";
  const Axis x = Axis::over(0, std::max(right, 1.0), 6);
  const Axis y = by_factors && low > 0 && high / low > 30 ? Axis::over_powers(low, high)
                                                          : Axis::over(low, high, 5);
  constexpr double kLeft = 46, kTop = 8, kWidth = 500, kHeight = 220;
  const double end = std::max(right, 1.0);
  const auto at_x = [&](double step) { return kLeft + kWidth * step / end; };
  const auto at_y = [&](double value) { return kTop + kHeight * (1 - y.place(value)); };

  std::string out = fmt::format(
      "<div class=\"box\"><h3>{0}</h3>\n<svg viewBox=\"0 0 560 250\" role=\"img\" "
      "aria-label=\"{0}\">\n",
      escaped(title));
  for (const double tick : y.ticks) {
    out += fmt::format(
        "<line class=\"grid-line\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        kLeft, kLeft + kWidth, at_y(tick), kLeft - 6, at_y(tick) + 4, tick_text(tick));
  }
  for (const double tick : x.ticks) {
    if (tick > end) continue;
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                       at_x(tick), kTop + kHeight + 18, tick_text(tick));
  }
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    std::string path, dots;
    for (const auto& [step, value] : drawn[i].points) {
      path += fmt::format("{:.1f},{:.1f} ", at_x(step), at_y(value));
      if (drawn[i].points.size() > 60) continue;
      dots += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"{}\"><title>{}, step {:.0f}: "
          "{:.6g}</title></circle>",
          at_x(step), at_y(value), colour(i), escaped(drawn[i].name), step, value);
    }
    path.pop_back();
    out += fmt::format(
        "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" stroke-linejoin=\"round\"{} "
        "points=\"{}\"><title>{}</title></polyline>{}\n",
        colour(i), dashes(i), path, escaped(drawn[i].name), dots);
  }
  out += "</svg>\n<div class=\"keys\">";
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    out += fmt::format("<span><i style=\"background:{}\"></i>{} <b>{}</b></span>\n", colour(i),
                       escaped(drawn[i].name), number(drawn[i].points.back().second));
  }
  return out + "</div></div>\n";
}

std::string confusion_table(const ConfusionTable& table) {
  const std::size_t classes = table.classes.size();
  const auto count = [&](std::size_t i, std::size_t j) {
    return static_cast<double>(table.counts.at(i * classes + j));
  };
  std::vector<double> sums(classes, 0);
  for (std::size_t i = 0; i < classes; ++i) {
    for (std::size_t j = 0; j < classes; ++j) sums[i] += count(i, j);
  }
  if (classes > kMostClasses) {
    std::vector<std::pair<double, std::pair<std::size_t, std::size_t>>> all;
    for (std::size_t i = 0; i < classes; ++i) {
      for (std::size_t j = 0; j < classes; ++j) {
        if (i != j && count(i, j) > 0) all.push_back({count(i, j), {i, j}});
      }
    }
    std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.first > b.first; });
    all.resize(std::min(all.size(), kMostConfusions));
    std::string out =
        "<table><tr><th>true class</th><th>predicted as</th><th>share of the true class</th>"
        "<th>pixels</th></tr>\n";
    for (const auto& [pixels, pair] : all) {
      out += fmt::format("<tr><td>{}</td><td>{}</td><td>{:.1f} %</td><td>{:.0f}</td></tr>\n",
                         escaped(table.classes[pair.first]), escaped(table.classes[pair.second]),
                         100 * pixels / sums[pair.first], pixels);
    }
    return out + "</table>\n";
  }
  std::string out =
      fmt::format("<table class=\"heat{}{}\"><thead><tr><th></th>",
                  classes > kWideClasses ? " tight" : "", classes > kSmallClasses ? " small" : "");
  for (const std::string& name : table.classes) {
    out += fmt::format("<th title=\"{0}\">{0}</th>", escaped(name));
  }
  out += "</tr></thead><tbody>\n";
  for (std::size_t i = 0; i < classes; ++i) {
    out += fmt::format("<tr><th title=\"{0}\">{0}</th>", escaped(table.classes[i]));
    for (std::size_t j = 0; j < classes; ++j) {
      const double share = sums[i] == 0 ? 0 : count(i, j) / sums[i];
      // The square root makes rare confusions visible.
      out += fmt::format(
          "<td style=\"background:rgba(var(--{}),{:.3f})\" title=\"{} as {}: {:.0f} "
          "pixels\">{}</td>",
          i == j ? "heat" : "bad", 0.85 * std::sqrt(share), escaped(table.classes[i]),
          escaped(table.classes[j]), count(i, j),
          sums[i] == 0                  ? "–"
          : share > 0 && share < 0.0005 ? "·"
                                        : fmt::format("{:.1f}", 100 * share));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

std::string confusion_box(const std::string& metric, const ConfusionTable& table) {
  const std::size_t classes = table.classes.size();
  const bool list = classes > kMostClasses;
  return fmt::format(
      "<div class=\"box{}\"><h3>{}: {}</h3>\n{}{}</div>\n",
      list                     ? " tall"
      : classes > kWideClasses ? " wide"
                               : "",
      escaped(metric),
      list ? fmt::format("the largest confusions of {} classes", classes) : "confusion",
      list ? ""
           : "<p><small>per cent of each true class (row) predicted as each class (column)"
             "</small></p>\n",
      confusion_table(table));
}

std::string score_table(const ScoreTable& table) {
  std::string out;
  if (!table.rows.empty()) {
    out += "<table><tr><th>class</th>";
    for (const std::string& column : table.columns) out += "<th>" + escaped(column) + "</th>";
    out += "</tr>\n";
    for (const auto& [name, values] : table.rows) {
      out +=
          fmt::format("<tr{}><td>{}</td>", name == "mean" ? " class=\"mean\"" : "", escaped(name));
      for (const double value : values) {
        const double width = std::isnan(value) ? 0 : std::clamp(value, 0.0, 1.0) * 100;
        out += fmt::format("<td class=\"bar\" style=\"--w:{:.1f}%\">{}</td>", width, number(value));
      }
      out += "</tr>\n";
    }
    out += "</table>\n";
  }
  if (table.overall.empty()) return out;
  out += "<div class=\"keys\">";
  for (const auto& [name, value] : table.overall) {
    out += fmt::format("<span>{} <b>{}</b></span>\n", escaped(name), number(value));
  }
  return out + "</div>\n";
}

}  // namespace strata::engine::html
