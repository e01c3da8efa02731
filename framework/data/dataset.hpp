// Datasets list samples and read them; they do not augment.
#pragma once

#include "framework/data/sample.hpp"
#include "framework/data/tags.hpp"
#include "framework/io/raster.hpp"
#include "registry/component.hpp"

namespace strata {

class STRATA_API Dataset {
 public:
  static constexpr const char* kind = "dataset";
  struct Context {
    LabelSpecs labels;
    bool with_labels = true;  // false: prediction, label files are not looked for
    std::int64_t dates = 1;   // images a sample that the model takes
    std::shared_ptr<const Reader> reader{};        // data.reader; null: RGB pictures
    std::shared_ptr<const Reader> label_reader{};  // data.label_reader; null: label pictures
    std::shared_ptr<const SceneTags> tags{};       // data.tags; null: samples have none
  };
  struct Statics {
    std::int64_t (*dates)(const void* options);  // images a sample gives
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options) {
      return Component::dates_of(*static_cast<const Options*>(options));
    }};
  }
  virtual ~Dataset();

  /// Number of samples; the listing is done (and checked: missing pairs, empty folders) on
  /// construction, which throws DataError.
  virtual std::int64_t size() const = 0;
  /// Decodes sample `index`. Thread-safe. Throws DataError naming the file and the cure: unreadable
  /// or truncated file, sizes of pair or label that differ, label values out of range.
  virtual Sample read(std::int64_t index) const = 0;
  /// The same, but pictures may be left in their files (Sample::put_off) for who needs a part.
  virtual Sample open(std::int64_t index) const { return read(index); }
  /// Name of a sample without reading it.
  virtual std::string name(std::int64_t index) const = 0;
  /// The targets of a sample alone, where that is cheaper than read().
  virtual std::map<std::string, SampleTarget> read_targets(std::int64_t index) const;
  /// A text that differs once the targets of a sample do (files, their sizes and times, how they
  /// are read); "" when that cannot be told.
  virtual std::string target_state(std::int64_t index) const;
};

}  // namespace strata
