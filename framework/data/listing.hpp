// Which files belong together: folders of images and labels paired by name, or a list file.
#pragma once

#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::data {

/// A folder that gives one file a sample.
struct FileColumn {
  std::string what;        // "image", "label", … for messages
  std::string folder;      // resolved
  std::string folder_key;  // option that set the folder, for advice: "image_dir"
  std::string suffix;      // end of the file names, "" for every one of `endings`
  std::string suffix_key;  // "img_suffix"
  std::vector<std::string> endings{};  // of the files that can be read; empty: of pictures
};

struct ListedSample {
  std::string name;                // the common part of the names, with sub-folders: "aachen/0001"
  std::vector<std::string> files;  // one a column
};

struct Listing {
  std::string list_file;       // "" to take every file of the folders
  bool skip_unpaired = false;  // leave out samples that lack a file instead of failing
  std::string list_format = "auto";  // what separates paths: "blanks", "two_spaces", "tabs"
  std::string root{};  // where paths count from that are not found from the list file's folder
};

/// Lists the samples, sorted by name (in the list's order with a list file). Throws DataError for
/// a folder that is missing or has no file of the suffix, files without a partner, two files of one
/// name, and lines that cannot be understood.
STRATA_API std::vector<ListedSample> list_samples(const std::vector<FileColumn>& columns,
                                                  const Listing& listing);

/// `path` inside `folder`, unless it is absolute.
STRATA_API std::string join_path(const std::string& folder, const std::string& path);

}  // namespace strata::data
