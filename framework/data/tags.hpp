// Scene tags: what pictures show, in words, from a JSON file beside each folder of pictures.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"

namespace strata {

/// `[data.tags]`; `tags = "_tags.json"` gives the suffix alone.
struct TagOptions {
  std::string suffix = "_clipcls_56_vit16.json";
  std::int64_t top = 9;
  std::string missing = "error";

  static constexpr const char* shorthand = "suffix";
  static auto fields() {
    using O = TagOptions;
    using config::field;
    return std::tuple{
        field("suffix", &O::suffix,
              "the tags of the pictures in a folder stand beside it, in a file of its name and this "
              "suffix, as tools/clip_tags writes it"),
        field("top", &O::top, "how many tags of a picture are taken, the most probable ones")
            .at_least(1),
        field("missing", &O::missing,
              "what a picture is that its folder's file does not name: an \"error\", or \"empty\" "
              "(without tags)")
            .one_of({"error", "empty"})};
  }
};

/// Reads each file once. Thread-safe.
class STRATA_API SceneTags {
 public:
  explicit SceneTags(TagOptions options);
  ~SceneTags();

  /// Tags of pictures, one list each, best first; none at all when no folder of them has a file,
  /// which is warned of once. Throws DataError for a file that cannot be understood, or that does
  /// not name the picture.
  std::vector<std::vector<std::string>> of(const std::vector<std::string>& pictures) const;

 private:
  struct Folder;  // the content of a file; null: there is none
  std::shared_ptr<const Folder> folder_of(const std::string& file) const;

  TagOptions options_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const Folder>> folders_;  // by file
};

/// One picture's classes and their probabilities, as such a file holds them.
struct PictureTags {
  std::string picture;  // its path
  std::vector<std::pair<std::string, double>> classes;
};
/// The file beside `folder`: "a/B" and "_tags.json" give "a/B_tags.json".
STRATA_API std::string tags_file(const std::string& folder, const std::string& suffix);
/// Classes from the most probable to the least, "%.4f". Whole or not there.
STRATA_API void write_tags(const std::string& path, const std::vector<PictureTags>& pictures);
/// Throws DataError.
STRATA_API std::vector<PictureTags> read_tags(const std::string& path);

}  // namespace strata
