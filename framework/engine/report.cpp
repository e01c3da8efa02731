#include "framework/engine/report.hpp"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/progress.hpp"
#include "framework/engine/report/chart.hpp"
#include "framework/engine/report/html.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using html::escaped;
using html::Series;

constexpr std::size_t kPictures = 6;         // of tools/predict, and of a validation
constexpr std::int64_t kPictureSide = 1100;  // the longest, in pixels
constexpr std::size_t kMostClassLines = 20;  // in a chart; of more classes the weakest are drawn
constexpr std::size_t kWeakest = 12;

// Names of scores that are of one class each: what follows the dot is the class.
const std::set<std::string> kClassScores = {
    "iou",          "f1",          "precision",          "recall",          "acc",
    "boundary_iou", "boundary_f1", "boundary_precision", "boundary_recall", "scd_iou"};
// Scores of a whole set that are worth a curve.
const std::set<std::string> kOverallScores = {"miou",          "mf1",         "aacc",  "kappa",
                                              "sek",           "fscd",        "score", "fwiou",
                                              "mboundary_iou", "mboundary_f1"};

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

/// The object in a file; an empty one without it.
Json object_in(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = Json::parse(read_text(path.string()), nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : Json::object();
}

double number_in(const Json& json) { return json.is_number() ? json.get<double>() : std::nan(""); }

/// What a score's name says: "val.city.iou.car" is of the set "city", the kind "iou", the class
/// "car". Sets may have any name, so the kind is looked for.
struct ScoreName {
  std::string set, kind, of_class;

  explicit ScoreName(const std::string& name) {
    std::size_t begin = 0;
    for (std::size_t dot = 0; dot != std::string::npos; begin = dot + 1) {
      dot = name.find('.', begin);
      const std::string part = name.substr(begin, dot - begin);
      const bool known = kClassScores.count(part) > 0 || part == "loss";
      if (!known && dot != std::string::npos) continue;
      kind = part;
      if (dot != std::string::npos) of_class = name.substr(dot + 1);
      set = begin == 0 ? "" : name.substr(0, begin - 1);
      return;
    }
  }
};

class Page {
 public:
  explicit Page(const fs::path& folder)
      : folder_(folder),
        scalars_(lines_of(folder / "scalars.jsonl")),
        timing_(lines_of(folder / "timing.jsonl")) {
    const auto checkpoints = checkpoints_in(folder.string());
    if (!checkpoints.empty())
      state_ = object_in(fs::path(checkpoints.back().second) / "state.json");
  }

  std::string text() const {
    const std::string name = fs::weakly_canonical(folder_).filename().string();
    std::string body = "<h1>" + escaped(name) + "</h1>\n" + subtitle() + cards();
    body +=
        evaluation("Test", object_in(folder_ / "test.json"), object_in(folder_ / "metrics.json"));
    body += curves();
    body += evaluation("Validation", object_in(folder_ / "validation.json"), last_validation());
    body += pictures();
    body += predictions();
    body += config();
    body += environment();
    return html::page(name, body);
  }

 private:
  std::string subtitle() const {
    const Json environment = object_in(folder_ / "environment.json");
    std::vector<std::string> parts;
    if (environment.contains("started")) {
      parts.push_back("started " + environment["started"].get<std::string>());
    }
    if (environment.contains("strata")) {
      parts.push_back("strata " + environment["strata"].get<std::string>());
    }
    return fmt::format("<p class=\"muted\">{}</p>\n",
                       escaped(fmt::format("{}", fmt::join(parts, " · "))));
  }

  static std::string card(const std::string& name, const std::string& value,
                          const std::string& more) {
    return fmt::format("<div class=\"card\"><span>{}</span><b>{}</b><small>{}</small></div>\n",
                       escaped(name), escaped(value), escaped(more));
  }

  std::string cards() const {
    std::string out;
    if (const auto best = state_.find("best"); best != state_.end()) {
      out += card("best " + best->value("name", std::string()),
                  html::number(number_in((*best)["value"])),
                  fmt::format("validation at step {}", best->value("step", 0)));
    }
    double loss = std::nan(""), step = 0, seconds = 0, before = 0, memory = 0, waited = 0;
    for (const Json& line : scalars_) {
      step = std::max(step, line.value("step", 0.0));
      if (line.contains("loss")) loss = number_in(line["loss"]);
    }
    std::vector<double> times;
    for (const Json& line : timing_) {
      const double at = line.value("step", 0.0);
      memory = std::max(memory, line.value("memory_mib", 0.0));
      if (!line.contains("time")) continue;
      times.push_back(line["time"].get<double>());
      seconds += times.back() * std::max(at - before, 0.0);
      waited += line.value("data_time", 0.0) * std::max(at - before, 0.0);
      before = at;
    }
    if (!scalars_.empty()) {
      const double steps = state_.value("steps", 0.0);
      out += card("steps", fmt::format("{:.0f}", step),
                  steps > 0 ? fmt::format("of {:.0f}", steps) : "");
    }
    if (!std::isnan(loss)) out += card("loss", html::number(loss), "last logged");
    if (!times.empty()) {
      const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
      std::nth_element(times.begin(), middle, times.end());
      out += card("time a step", fmt::format("{:.3f} s", *middle), "median");
      out +=
          card("training", duration_text(seconds),
               seconds > 0 ? fmt::format("{:.1f} % waited for data", 100 * waited / seconds) : "");
    }
    if (memory > 0) out += card("largest memory", fmt::format("{:.0f} MiB", memory), "");
    return out.empty() ? "" : "<div class=\"cards\">\n" + out + "</div>\n";
  }

  /// The values of every key of `lines` that `name_of` gives a name, over steps.
  template <class NameOf>
  static std::vector<Series> series(const std::vector<Json>& lines, const NameOf& name_of) {
    std::vector<Series> all;
    std::map<std::string, std::size_t> places;
    for (const Json& line : lines) {
      if (!line.contains("step") || !line["step"].is_number()) continue;
      for (const auto& [key, value] : line.items()) {
        if (!value.is_number()) continue;
        const std::string name = name_of(key);
        if (name.empty()) continue;
        const auto [place, is_new] = places.emplace(name, all.size());
        if (is_new) all.push_back({name, {}});
        all[place->second].points.emplace_back(line["step"].template get<double>(),
                                               value.template get<double>());
      }
    }
    return all;
  }

  std::string curves() const {
    const auto trained = [](const std::string& key) { return !key.starts_with("val."); };
    // Terms of the loss are logged as "<part>.<name>"; so are an accuracy and a norm.
    const auto is_term = [](const std::string& key) {
      return key.find('.') != std::string::npos && !key.starts_with("val.") &&
             !key.starts_with("lr.") && key.find("acc") == std::string::npos &&
             key.find("grad_norm") == std::string::npos;
    };
    std::string out = html::line_chart(
        "Loss",
        series(scalars_,
               [&](const std::string& key) {
                 if (key == "loss") return std::string("total");
                 if (is_term(key)) return key;
                 if (!key.starts_with("val.")) return std::string();
                 const ScoreName score(key.substr(4));
                 return score.kind == "loss" && score.of_class.empty() ? key : std::string();
               }),
        /*by_factors=*/true);
    out += validation_curves();
    out += html::line_chart("Learning rate", series(scalars_, [](const std::string& key) {
                              return key == "lr" || key.starts_with("lr.") ? key : std::string();
                            }));
    out += html::line_chart(
        "Other values of training", series(scalars_, [&](const std::string& key) {
          const bool shown = key == "loss" || key == "lr" || key.starts_with("lr.") ||
                             key == "step" || key == "epoch" || is_term(key);
          return trained(key) && !shown ? key : std::string();
        }));
    out += html::line_chart("Seconds a step", series(timing_, [](const std::string& key) {
                              return key == "time"        ? std::string("whole step")
                                     : key == "data_time" ? std::string("waiting for data")
                                                          : std::string();
                            }));
    out += html::line_chart("Memory, MiB", series(timing_, [](const std::string& key) {
                              return key == "memory_mib" ? std::string("largest so far")
                                                         : std::string();
                            }));
    return out.empty() ? "" : "<h2>Curves</h2>\n<div class=\"grid\">\n" + out + "</div>\n";
  }

  std::string validation_curves() const {
    std::string out = html::line_chart(
        "Validation", series(scalars_, [&](const std::string& key) {
          if (!key.starts_with("val.")) return std::string();
          const std::string name = key.substr(4);
          const ScoreName score(name);
          const bool best =
              state_.contains("best") && state_["best"].value("name", std::string()) == name;
          return best || (score.of_class.empty() && kOverallScores.count(score.kind) > 0)
                     ? name
                     : std::string();
        }));
    std::vector<Series> classes = series(scalars_, [](const std::string& key) {
      if (!key.starts_with("val.")) return std::string();
      const ScoreName score(key.substr(4));
      if (score.kind != "iou" && score.kind != "scd_iou") return std::string();
      return score.set.empty() ? score.of_class : score.set + ", " + score.of_class;
    });
    std::string title = "IoU of each class";
    if (classes.size() > kMostClassLines) {
      std::stable_sort(classes.begin(), classes.end(), [](const Series& a, const Series& b) {
        return a.points.back().second < b.points.back().second;
      });
      title = fmt::format("IoU of the {} weakest of {} classes", kWeakest, classes.size());
      classes.resize(kWeakest);
    }
    return out + html::line_chart(title, classes);
  }

  /// The numbers of the newest validation, without their "val.".
  Json last_validation() const {
    Json numbers = Json::object();
    for (auto line = scalars_.rbegin(); line != scalars_.rend() && numbers.empty(); ++line) {
      for (const auto& [key, value] : line->items()) {
        if (key.starts_with("val.")) numbers[key.substr(4)] = value;
      }
    }
    return numbers;
  }

  static std::string all_numbers(const Json& numbers) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& [name, value] : numbers.items()) {
      rows.emplace_back(name, html::number(number_in(value), 6));
    }
    if (rows.empty()) return "";
    return fmt::format(
        "<details><summary>all {} numbers</summary>\n<div class=\"box\">{}</div></details>\n",
        rows.size(), html::facts(rows));
  }

  static std::string evaluation(const std::string& title, const Json& record, const Json& numbers) {
    std::string out;
    try {
      if (record.contains("sets")) {
        for (const Json& set : record.at("sets")) out += set_section(record, set);
      }
    } catch (const Json::exception&) {
      out.clear();  // of another version, or not ours: the numbers below are there in any case
    }
    out += all_numbers(numbers);
    if (out.empty()) return "";
    const std::string what = record.value("what", std::string());
    return fmt::format("<h2>{}</h2>\n{}{}", title,
                       what.empty() ? "" : "<p class=\"muted\">" + escaped(what) + "</p>\n", out);
  }

  static std::string set_section(const Json& record, const Json& set) {
    const std::string name = set.value("name", std::string());
    std::string out = name.empty() ? "" : "<h3>" + escaped(name) + "</h3>\n";
    out += "<div class=\"grid\">\n";
    for (const Json& metric : set.at("metrics")) {
      ScoreTable table;
      table.columns = metric.at("columns").get<std::vector<std::string>>();
      for (const Json& row : metric.at("rows")) {
        std::vector<double> values;
        for (const Json& value : row.at("values")) values.push_back(number_in(value));
        table.rows.emplace_back(row.at("name").get<std::string>(), std::move(values));
      }
      for (const Json& one : metric.at("overall")) {
        table.overall.emplace_back(one.at(0).get<std::string>(), number_in(one.at(1)));
      }
      const std::string key = escaped(metric.at("name").get<std::string>());
      if (!table.rows.empty() || !table.overall.empty()) {
        out += fmt::format("<div class=\"box tall\"><h3>{}</h3>\n{}</div>\n", key,
                           html::score_table(table));
      }
      if (!metric.contains("confusion")) continue;
      const ConfusionTable confusion{
          metric.at("confusion").at("classes").get<std::vector<std::string>>(),
          metric.at("confusion").at("counts").get<std::vector<std::int64_t>>()};
      out += html::confusion_box(metric.at("name").get<std::string>(), confusion);
    }
    out += "</div>\n";
    const std::string rank = record.value("rank", std::string());
    for (const auto& [list, title] : {std::pair{"worst", "Worst"}, std::pair{"best", "Best"}}) {
      if (!set.contains(list) || set.at(list).empty()) continue;
      out += fmt::format("<h3 style=\"margin-top:22px\">{} by {} of the image{}</h3>\n", title,
                         escaped(rank), name.empty() ? "" : ", " + escaped(name));
      if (std::string(list) == "worst") out += legend(record);
      for (const Json& sample : set.at(list)) out += figure(sample);
    }
    return out;
  }

  /// Colours of the classes, and of errors.
  static std::string legend(const Json& record) {
    std::string out;
    const auto chip = [](const std::string& colour, const std::string& name) {
      return fmt::format("<span><i style=\"background:{}\"></i>{}</span>\n", colour, escaped(name));
    };
    bool binary = false, many = false;
    out += "<em>classes</em>\n";
    for (const Json& label : record.at("labels")) {
      const auto classes = label.at("classes").get<std::vector<std::string>>();
      const auto palette = label.at("palette").get<std::vector<std::vector<int>>>();
      (classes.size() == 2 ? binary : many) = true;
      for (std::size_t c = 0; c < std::min(classes.size(), palette.size()); ++c) {
        out += chip(fmt::format("rgb({})", fmt::join(palette[c], ",")), classes[c]);
      }
    }
    out += "<em>errors</em>\n";
    if (many) out += chip("rgb(225,40,40)", "wrong class");
    if (binary) {
      out += chip("#fff", "hit") + chip("rgb(255,60,60)", "false alarm") +
             chip("rgb(60,110,255)", "miss");
    }
    return "<div class=\"keys\" style=\"margin:0 0 12px\">" + out + chip("#808080", "ignored") +
           "</div>\n";
  }

  static std::string figure(const Json& sample) {
    const auto name = sample.at("name").get<std::string>();
    std::string out = fmt::format(
        "<figure class=\"box\"><figcaption>{} <b>{}</b></figcaption>\n<div class=\"row\">\n",
        escaped(name), html::number(number_in(sample.at("score"))));
    for (const Json& picture : sample.at("pictures")) {
      const auto title = picture.at("title").get<std::string>();
      out += fmt::format("<div>{}<small>{}</small></div>\n",
                         html::image(picture.at("type").get<std::string>(),
                                     picture.at("data").get<std::string>(), name + ", " + title),
                         escaped(title));
    }
    return out + "</div></figure>\n";
  }

  /// Some pictures of a folder whose names end with `ending`; "" when there are none. `count`: how
  /// many there are and how many are shown.
  static std::string figures(const fs::path& folder, const std::string& ending,
                             std::string& count) {
    std::vector<fs::path> paths;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().filename().string().ends_with(ending)) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    std::string out;
    std::size_t shown = 0;
    for (const fs::path& path : paths) {
      if (shown == kPictures) break;
      try {
        const std::string name = path.filename().string();
        const at::Tensor picture = inference::shrink(io::read_image(path.string()), kPictureSide);
        out += fmt::format("<figure class=\"box\"><figcaption>{}</figcaption>\n{}</figure>\n",
                           escaped(name),
                           html::image("jpeg", html::base64(io::jpeg_bytes(picture, 85)), name));
        ++shown;
      } catch (const DataError&) {
        // Being written, or damaged: no reason to go without a report.
      }
    }
    count = fmt::format("{} of {}", shown, paths.size());
    return out;
  }

  /// Of what tools/predict left in predictions/.
  std::string predictions() const {
    std::string count;
    const std::string all = figures(folder_ / "predictions", "_overlay.png", count);
    if (all.empty()) return "";
    return fmt::format("<h2>Predictions</h2>\n<p class=\"muted\">{} in predictions/</p>\n{}", count,
                       all);
  }

  /// Of what a VisualizationHook drew at the newest validation that has pictures.
  std::string pictures() const {
    std::int64_t newest = -1;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_ / "pictures", error)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("step_")) continue;
      newest = std::max<std::int64_t>(newest, std::atoll(name.c_str() + 5));
    }
    const std::string step = fmt::format("step_{}", newest);
    std::string count;
    const std::string all = figures(folder_ / "pictures" / step, ".png", count);
    if (all.empty()) return "";
    return fmt::format(
        "<h2>Pictures of validation</h2>\n<p class=\"muted\">{} in pictures/{}/: the images, the "
        "truth, the prediction; of two classes also where they differ</p>\n{}",
        count, step, all);
  }

  std::string config() const {
    std::string out;
    const auto add = [&](const char* file, const char* title) {
      if (!fs::exists(folder_ / file)) return;
      out += fmt::format(
          "<details><summary>{}</summary>\n<div class=\"box\"><pre>{}</pre></div></details>\n",
          title, escaped(read_text((folder_ / file).string())));
    };
    add("config_origins.toml", "as written, with the file and line of each key");
    add("config.toml", "resolved, with every default");
    return out.empty() ? "" : "<h2>Config</h2>\n" + out;
  }

  std::string environment() const {
    std::vector<std::pair<std::string, std::string>> rows;
    const Json environment = object_in(folder_ / "environment.json");
    for (const auto& [name, value] : environment.items()) {
      rows.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    }
    for (const Json& line : timing_) {
      if (!line.contains("first_step_begins")) continue;
      rows.emplace_back("from start to the first step",
                        fmt::format("{:.2f} s", line["first_step_begins"].get<double>()));
      break;
    }
    double validation = 0;
    for (const Json& line : timing_) validation += line.value("validation_time", 0.0);
    if (validation > 0) rows.emplace_back("validations took", duration_text(validation));
    if (rows.empty()) return "";
    return "<h2>Environment</h2>\n<div class=\"box\">" + html::facts(rows) + "</div>\n";
  }

  fs::path folder_;
  std::vector<Json> scalars_, timing_;
  Json state_ = Json::object();  // of the newest checkpoint
};

}  // namespace

void write_report(const std::string& work_dir) {
  const fs::path folder(work_dir);
  if (!fs::exists(folder / "scalars.jsonl")) return;
  write_text((folder / "report.html").string(), Page(folder).text());
}

}  // namespace strata::engine
