// What components say about themselves before anything is built: the features that flow between
// them and the labels they are trained on. Torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"

namespace strata {

/// One feature map: `channels` at 1/`stride` of the image.
struct FeatureLevel {
  std::string name;  // "0", "1", … or what the component calls it
  std::int64_t channels = 0;
  std::int64_t stride = 1;
  bool operator==(const FeatureLevel&) const = default;
};

/// What a component gives, or is given: levels from fine to coarse, named extras (a CLIP tower's
/// global embedding: {"global", width}), and for how many dates this set exists side by side.
struct STRATA_API FeatureSpec {
  std::vector<FeatureLevel> levels;
  std::map<std::string, std::int64_t> extras;
  std::int64_t dates = 1;

  /// The spec of the images themselves: one level at stride 1.
  static FeatureSpec image(std::int64_t channels, std::int64_t dates = 1);
  std::vector<std::int64_t> channels() const;
  /// "64@4 128@8" for messages, "2 x (…)" with two dates.
  std::string str() const;
  bool operator==(const FeatureSpec&) const = default;
};

/// For `in_channels` options: left out, `actual` is taken; written, it must equal it.
/// Throws OptionError("in_channels", …).
STRATA_API void check_in_channels(const std::optional<std::vector<std::int64_t>>& written,
                                  const std::vector<std::int64_t>& actual);

/// A target that models are trained on, declared in `[data.labels.NAME]`.
struct STRATA_API LabelSpec {
  std::string name;                               // the key under data.labels
  std::vector<std::string> classes;               // index = label value
  std::vector<std::vector<std::int64_t>> palette; // RGB a class, derived when left out
  std::int64_t ignore_index = 255;
  std::string role = "semantic";                  // "semantic" or "change"
  std::int64_t date = 0;                          // which date a semantic map describes

  std::int64_t num_classes() const { return static_cast<std::int64_t>(classes.size()); }
  static auto fields() {
    using config::field;
    return std::tuple{
        field("classes", &LabelSpec::classes, "class names; a name's index is its label value")
            .required()
            .not_empty(),
        field("palette", &LabelSpec::palette, "[r, g, b] of each class for pictures"),
        field("ignore_index", &LabelSpec::ignore_index, "label value that is not trained on")
            .at_least(0)
            .at_most(255),
        field("role", &LabelSpec::role, "what the map describes").one_of({"semantic", "change"}),
        field("date", &LabelSpec::date, "the date (0, 1, …) that a semantic map describes")
            .at_least(0)};
  }
};

/// The declared targets, in the order of the config.
class STRATA_API LabelSpecs {
 public:
  LabelSpecs() = default;
  /// Fills in names and missing palette entries. Throws OptionError(key, …) for a bad palette.
  explicit LabelSpecs(config::Named<LabelSpec> declared);

  const std::vector<LabelSpec>& all() const { return specs_; }
  const LabelSpec* find(const std::string& name) const;
  /// The target `name`; "" means the only one, or, of several, the first. Throws
  /// OptionError("target", …) with the declared names.
  const LabelSpec& get(const std::string& name) const;

 private:
  std::vector<LabelSpec> specs_;
};

}  // namespace strata
