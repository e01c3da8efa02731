#include "framework/engine/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "framework/base/files.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Points = std::vector<std::pair<double, double>>;       // step, value
using Curves = std::vector<std::pair<std::string, Points>>;  // in the order of the log

constexpr std::size_t kPictures = 12;
constexpr const char* kStyle =
    "body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ddd}td+td{text-align:right;font-variant-numeric:tabular-nums}"
    "svg{width:100%;height:auto}figure{display:inline-block;margin:.3em}figure img{max-width:100%}"
    "pre{background:#f6f6f6;padding:1em;overflow:auto}";
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#999999", "#000000"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// A path inside the work dir as a link: other bytes than these are written as %XX.
std::string link_to(const std::string& path) {
  std::string out;
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                       std::string("-_./~").find(c) != std::string::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

/// Whole lines only: the run may be writing the last one.
std::vector<Json> lines_of(const fs::path& path) {
  std::vector<Json> lines;
  if (!fs::exists(path)) return lines;
  std::istringstream text(read_text(path.string()));
  for (std::string line; std::getline(text, line);) {
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) lines.push_back(std::move(json));
  }
  return lines;
}

/// The numbers of every key that `wanted` accepts, over steps.
template <class Wanted>
Curves curves_of(const std::vector<Json>& lines, const Wanted& wanted) {
  Curves curves;
  for (const Json& line : lines) {
    for (const auto& [key, value] : line.items()) {
      if (!value.is_number() || !wanted(key) || !line.contains("step")) continue;
      auto place = std::find_if(curves.begin(), curves.end(), [&, &name = key](const auto& curve) {
        return curve.first == name;
      });
      if (place == curves.end()) place = curves.insert(curves.end(), {key, {}});
      place->second.emplace_back(line["step"].template get<double>(), value.template get<double>());
    }
  }
  return curves;
}

/// Lines over steps with their names beside them; "" when there is nothing to draw.
std::string chart(const std::string& title, const Curves& curves) {
  double right = 0, low = 0, high = 0;
  bool any = false;
  for (const auto& [name, points] : curves) {
    for (const auto& [step, value] : points) {
      right = std::max(right, step);
      low = any ? std::min(low, value) : value;
      high = any ? std::max(high, value) : value;
      any = true;
    }
  }
  if (!any) return "";
  if (high == low) high = low + 1;
  if (right == 0) right = 1;
  constexpr double kLeft = 60, kTop = 10, kWidth = 640, kHeight = 240;
  const auto x = [&](double step) { return kLeft + kWidth * step / right; };
  const auto y = [&](double value) { return kTop + kHeight * (high - value) / (high - low); };
  std::string svg = fmt::format("<h2>{}</h2>\n<svg viewBox=\"0 0 920 285\" role=\"img\">\n", title);
  for (int i = 0; i <= 4; ++i) {
    const double value = low + (high - low) * i / 4;
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" font-size=\"12\" text-anchor=\"end\">{5:.3g}</text>\n",
        kLeft, kLeft + kWidth, y(value), kLeft - 6, y(value) + 4, value);
  }
  svg += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\" text-anchor=\"end\">step {:.0f}</text>\n",
      kLeft + kWidth, kTop + kHeight + 20, right);
  std::size_t number = 0;
  for (const auto& [name, points] : curves) {
    const char* colour = kColours[number % std::size(kColours)];
    std::string line;
    for (const auto& [step, value] : points)
      line += fmt::format("{:.1f},{:.1f} ", x(step), y(value));
    if (!line.empty()) line.pop_back();
    svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>\n",
                       colour, line);
    if (points.size() == 1) {
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n",
                         x(points[0].first), y(points[0].second), colour);
    }
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\" fill=\"{}\">{} {:.4g}</text>\n",
        kLeft + kWidth + 12, kTop + 10 + 16.0 * static_cast<double>(number), colour, escaped(name),
        points.back().second);
    ++number;
  }
  return svg + "</svg>\n";
}

std::string row(const std::string& name, const std::string& value) {
  return fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value));
}

std::string number_cell(const Json& value) {
  return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "-";
}

/// Steps, times and memory.
std::string summary(const std::vector<Json>& scalars, const std::vector<Json>& timing) {
  std::string rows;
  std::vector<double> times;
  double memory = 0;
  for (const Json& line : timing) {
    if (line.contains("time")) times.push_back(line["time"].get<double>());
    memory = std::max(memory, line.value("memory_mib", 0.0));
  }
  if (!scalars.empty()) rows += row("steps", scalars.back().value("step", Json()).dump());
  if (!times.empty()) {
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                     times.end());
    rows += row("seconds a step (median)", fmt::format("{:.3f}", times[times.size() / 2]));
  }
  for (const Json& line : timing) {
    if (!line.contains("first_step_begins")) continue;
    rows += row("seconds from start to the first step",
                fmt::format("{:.2f}", line["first_step_begins"].get<double>()));
    break;
  }
  if (memory > 0) rows += row("largest memory", fmt::format("{:.0f} MiB", memory));
  return rows.empty() ? "" : "<table>\n" + rows + "</table>\n";
}

std::string scores_table(const std::string& title, const Json& scores, const std::string& prefix) {
  std::string rows;
  for (const auto& [name, value] : scores.items()) {
    if (name.starts_with(prefix)) rows += row(name.substr(prefix.size()), number_cell(value));
  }
  return rows.empty() ? "" : fmt::format("<h2>{}</h2>\n<table>\n{}</table>\n", title, rows);
}

std::string pictures(const fs::path& work_dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(work_dir / "predictions", error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with("_overlay.png")) names.push_back(name);
  }
  if (names.empty()) return "";
  std::sort(names.begin(), names.end());
  std::string text = fmt::format(
      "<h2>Predictions</h2>\n<p>{} of {}, in <a href=\"predictions/\">"
      "predictions/</a></p>\n",
      std::min(kPictures, names.size()), names.size());
  for (std::size_t i = 0; i < std::min(kPictures, names.size()); ++i) {
    text += fmt::format("<figure><img src=\"predictions/{}\" alt=\"{}\"></figure>\n",
                        link_to(names[i]), escaped(names[i]));
  }
  return text;
}

}  // namespace

void write_report(const std::string& work_dir) {
  const fs::path folder(work_dir);
  if (!fs::exists(folder / "scalars.jsonl")) return;
  const auto scalars = lines_of(folder / "scalars.jsonl");
  const auto timing = lines_of(folder / "timing.jsonl");
  const std::string name = fs::weakly_canonical(folder).filename().string();

  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n<h1>{0}</h1>\n",
      escaped(name), kStyle);
  html += summary(scalars, timing);
  if (fs::exists(folder / "metrics.json")) {
    const Json metrics = Json::parse(read_text((folder / "metrics.json").string()), nullptr, false);
    if (metrics.is_object()) html += scores_table("Test", metrics, "");
  }
  html += pictures(folder);
  html += chart("Training", curves_of(scalars, [](const std::string& key) {
                  return key == "loss" ||
                         (key.find('.') != std::string::npos && !key.starts_with("val.") &&
                          !key.starts_with("lr.") && key.find("acc") == std::string::npos &&
                          key.find("grad_norm") == std::string::npos);
                }));
  html += chart("Validation", curves_of(scalars, [](const std::string& key) {
                  return key.starts_with("val.") && (key.find("iou") != std::string::npos ||
                                                     key.find("f1.") != std::string::npos);
                }));
  for (auto line = scalars.rbegin(); line != scalars.rend(); ++line) {
    const std::string table = scores_table("Last validation", *line, "val.");
    html += table;
    if (!table.empty()) break;
  }
  if (fs::exists(folder / "config.toml")) {
    html += "<h2>Config</h2>\n<details><summary>resolved, with every default</summary>\n<pre>" +
            escaped(read_text((folder / "config.toml").string())) + "</pre></details>\n";
  }
  write_text((folder / "report.html").string(), html + "</html>\n");
}

}  // namespace strata::engine
