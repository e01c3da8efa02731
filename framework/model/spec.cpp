#include "framework/model/spec.hpp"

#include <algorithm>
#include <set>

#include "framework/model/palette.hpp"

namespace strata {

FeatureSpec FeatureSpec::image(std::int64_t channels, std::int64_t dates) {
  FeatureSpec spec;
  spec.levels = {{"image", channels, 1}};
  spec.dates = dates;
  return spec;
}

std::vector<std::int64_t> FeatureSpec::channels() const {
  std::vector<std::int64_t> all;
  for (const FeatureLevel& level : levels) all.push_back(level.channels);
  return all;
}

std::string FeatureSpec::str() const {
  std::string text;
  for (const FeatureLevel& level : levels) {
    text += (text.empty() ? "" : " ") + std::to_string(level.channels) + "@" +
            std::to_string(level.stride);
  }
  return dates == 1 ? text : std::to_string(dates) + " x (" + text + ")";
}

namespace {

std::string list(const std::vector<std::int64_t>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  }
  return text + "]";
}

// Hues a golden-ratio step apart: neighbours differ for any number of classes. Class 0 is black,
// as backgrounds are.
std::vector<std::int64_t> derived_colour(std::size_t index) {
  if (index == 0) return {0, 0, 0};
  const double hue = 6.0 * (0.61803398875 * static_cast<double>(index) -
                            static_cast<std::int64_t>(0.61803398875 * static_cast<double>(index)));
  const double value = index % 2 == 0 ? 200 : 255;
  auto channel = [&](double shift) {
    double k = hue + shift;
    if (k >= 6) k -= 6;
    const double weight = std::max(0.0, std::min({k, 4 - k, 1.0}));
    return static_cast<std::int64_t>(value * (1 - 0.8 * weight));
  };
  return {channel(5), channel(3), channel(1)};
}

}  // namespace

void check_in_channels(const std::optional<std::vector<std::int64_t>>& written,
                       const std::vector<std::int64_t>& actual) {
  if (!written || *written == actual) return;
  throw OptionError("in_channels", "the component in front gives " + list(actual) + ", got " +
                                       list(*written) + "; leave it out to have it derived");
}

void check_palette(const std::string& key, const Palette& palette) {
  for (const auto& colour : palette) {
    const bool valid = colour.size() == 3 && std::all_of(colour.begin(), colour.end(),
                                                         [](auto c) { return c >= 0 && c <= 255; });
    if (valid) continue;
    throw OptionError(key, "a colour is [red, green, blue] from 0 to 255, got " + list(colour));
  }
}

LabelSpecs::LabelSpecs(config::Named<LabelSpec> declared) {
  for (auto& [name, spec] : declared) {
    spec.name = name;
    if (!spec.palette.empty() && spec.palette.size() != spec.classes.size()) {
      throw OptionError(name + ".palette", "has " + std::to_string(spec.palette.size()) +
                                               " colours for " +
                                               std::to_string(spec.classes.size()) + " classes");
    }
    check_palette(name + ".palette", spec.palette);
    if (spec.classes.size() > 255) {
      throw OptionError(name + ".classes", "more than 255 classes do not fit a label map, got " +
                                               std::to_string(spec.classes.size()));
    }
    std::set<std::string> seen;
    for (const std::string& each : spec.classes) {
      if (seen.insert(each).second) continue;
      throw OptionError(name + ".classes", "a class name stands twice, got \"" + each + "\"");
    }
    for (std::size_t i = spec.palette.size(); i < spec.classes.size(); ++i) {
      spec.palette.push_back(derived_colour(i));
    }
    specs_.push_back(std::move(spec));
  }
}

const LabelSpec* LabelSpecs::find(const std::string& name) const {
  for (const LabelSpec& spec : specs_) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

const LabelSpec& LabelSpecs::get(const std::string& name) const {
  if (specs_.empty()) {
    throw OptionError("target", "no labels are declared; add a table [data.labels.NAME]");
  }
  if (name.empty()) return specs_.front();
  if (const LabelSpec* spec = find(name)) return *spec;
  std::vector<std::string> names;
  std::string all;
  for (const LabelSpec& spec : specs_) {
    names.push_back(spec.name);
    all += (all.empty() ? "\"" : ", \"") + spec.name + "\"";
  }
  throw OptionError("target", "no such label is declared (there are " + all + "), got \"" + name +
                                  "\"" + did_you_mean(name, names));
}

}  // namespace strata
